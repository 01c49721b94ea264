/**
 * Ends a process that does nothing although it could, so that the supervisor starts it anew. Right after an outage a consumer
 * may be quiet for a moment, so Kafka must have answered all the time.
 */
import type { PartitionConsumer } from '@customer-stream/runtime/kafka'
import type { Projection } from './consumer.ts'
import type { Progress } from './progress.ts'

/** After one session without a sign of life the group itself gives a member up. A second one tells a hiccup apart. */
const QUIET_SESSIONS = 2
/** A rebalance and a fetch that waits for its turn are over by then. */
const STALLED_SESSIONS = 4

export interface WatchdogDependencies {
  /** Rejects if Kafka does not answer. */
  readonly askKafka: () => Promise<unknown>
  readonly consumer: Pick<PartitionConsumer, 'quietMs'>
  readonly projection: Pick<Projection, 'undisturbedMs' | 'positions'>
  readonly progress: Pick<Progress, 'standstillMs'>
  readonly sessionTimeoutMs: number
  readonly onDead: (error: Error) => void
}

/** @returns the check, to be called once in each session. */
export const createWatchdog = ({
  askKafka,
  consumer,
  projection,
  progress,
  sessionTimeoutMs,
  onDead,
}: WatchdogDependencies): (() => Promise<void>) => {
  let kafkaAnsweredSince = Number.POSITIVE_INFINITY
  let stalledBefore = false

  return async () => {
    try {
      await askKafka()
      kafkaAnsweredSince = Math.min(kafkaAnsweredSince, performance.now())
    } catch {
      kafkaAnsweredSince = Number.POSITIVE_INFINITY
    }
    // Partitions that wait for their turn are no stall as long as another one of this process moves. Seen twice, because a
    // consumer that has only just found back into its group may have been away all that time.
    const standstillMs = Math.min(progress.standstillMs(projection.positions.assigned), projection.undisturbedMs())
    const stalled = standstillMs > sessionTimeoutMs * STALLED_SESSIONS
    if (stalled && stalledBefore)
      onDead(
        new Error(
          `none of the partitions of this process has moved for ${Math.round(standstillMs / 1000)} s although they have records to apply`,
        ),
      )
    stalledBefore = stalled
    const quietMs = Math.min(consumer.quietMs(), performance.now() - kafkaAnsweredSince)
    if (quietMs >= sessionTimeoutMs * QUIET_SESSIONS)
      onDead(new Error(`the consumer has shown no sign of life for ${Math.round(quietMs / 1000)} s although Kafka answers`))
  }
}
