/**
 * Ends a process that applies nothing although Kafka and Redis answer, so that the supervisor
 * restarts the process. A consumer may be quiet for a moment after an outage. So the watchdog
 * measures quiet time only while Kafka answers.
 */
import type { Lifecycle } from '@customer-stream/runtime'
import type { PartitionConsumer, TopicAdmin } from '@customer-stream/runtime/kafka'
import type { Progress } from './progress.ts'
import type { Projection } from './projection.ts'

/**
 * The process ends after this many session timeouts without a fetch or a heartbeat. After one
 * session timeout, the consumer may only have paused for a moment.
 */
const QUIET_SESSIONS = 2
/**
 * The process ends if no position moves for this many session timeouts. A rebalance takes less
 * time. A fetch that waits for other fetches also takes less time.
 */
const STALLED_SESSIONS = 4

export interface WatchdogDependencies {
  readonly admin: Pick<TopicAdmin, 'describeTopics'>
  readonly consumer: Pick<PartitionConsumer, 'quietMs'>
  readonly projection: Pick<Projection, 'undisturbedMs' | 'positions'>
  readonly progress: Pick<Progress, 'standstillMs'>
  /** Ends the process. */
  readonly lifecycle: Pick<Lifecycle, 'fail'>
}

export interface WatchdogOptions {
  readonly topic: string
  readonly sessionTimeoutMs: number
}

/** @returns the check, to be called once in each session. */
export const createWatchdog = (
  { admin, consumer, projection, progress, lifecycle }: WatchdogDependencies,
  { topic, sessionTimeoutMs }: WatchdogOptions,
): (() => Promise<void>) => {
  let kafkaAnsweredSince = Number.POSITIVE_INFINITY
  let stalledBefore = false

  return async () => {
    try {
      await admin.describeTopics([topic])
      kafkaAnsweredSince = Math.min(kafkaAnsweredSince, performance.now())
    } catch {
      kafkaAnsweredSince = Number.POSITIVE_INFINITY
    }
    // Two checks in a row must see the stall, because the consumer may have joined its group a
    // moment ago.
    const standstillMs = Math.min(progress.standstillMs(projection.positions.assigned), projection.undisturbedMs())
    const stalled = standstillMs > sessionTimeoutMs * STALLED_SESSIONS
    if (stalled && stalledBefore)
      lifecycle.fail(
        new Error(
          `no position of this process has moved for ${Math.round(standstillMs / 1000)} s although its partitions ` +
            'have records to apply',
        ),
      )
    stalledBefore = stalled
    const quietMs = Math.min(consumer.quietMs(), performance.now() - kafkaAnsweredSince)
    if (quietMs >= sessionTimeoutMs * QUIET_SESSIONS)
      lifecycle.fail(
        new Error(`the consumer has been silent for ${Math.round(quietMs / 1000)} s although Kafka answers`),
      )
  }
}
