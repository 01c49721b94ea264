import type { EachBatchPayload } from 'kafkajs'

/**
 * The group removes a dead member after this time. So a process that restarts after a crash may
 * wait this long for its partitions.
 */
export const SESSION_TIMEOUT_MS = 10_000
export const HEARTBEAT_INTERVAL_MS = 3000
/**
 * kafkajs ignores a request for a heartbeat within `HEARTBEAT_INTERVAL_MS` after the last answer.
 * With a timer of the same interval, kafkajs would ignore every second request.
 */
const ATTEMPT_INTERVAL_MS = 500

const typeOf = (error: unknown): unknown => (error as { type?: unknown } | undefined)?.type

/** Returns true if the error says that this member has lost its partitions. */
export const isLoss = (error: unknown): boolean =>
  typeOf(error) === 'UNKNOWN_MEMBER_ID' || typeOf(error) === 'ILLEGAL_GENERATION'

export interface Heartbeats {
  /** Aborts if another member has the partition. */
  readonly lost: AbortController
  /**
   * True if the batch must end, because the group waits for this member in a rebalance, or has
   * removed this member.
   */
  readonly mustEnd: boolean
  stop(): void
}

/**
 * Sends heartbeats while a batch is handled. kafkajs sends heartbeats only between batches, so the
 * group would remove the member during a slow handler.
 */
export const startHeartbeats = ({ heartbeat }: EachBatchPayload): Heartbeats => {
  const lost = new AbortController()
  let isRebalancing = false
  const timer = setInterval(() => {
    heartbeat().catch((error: unknown) => {
      if (isLoss(error)) lost.abort(error)
      if (typeOf(error) === 'REBALANCE_IN_PROGRESS') isRebalancing = true
    })
  }, ATTEMPT_INTERVAL_MS)
  return {
    lost,
    get mustEnd() {
      return isRebalancing || lost.signal.aborted
    },
    stop: () => clearInterval(timer),
  }
}
