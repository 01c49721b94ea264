import type { EachBatchPayload } from 'kafkajs'

/** After a crash, the next start waits as long, because the group still has the dead member. */
export const SESSION_TIMEOUT_MS = 10_000
export const HEARTBEAT_INTERVAL_MS = 3000

const typeOf = (error: unknown): unknown => (error as { type?: unknown } | undefined)?.type

/** True for an error after which the partition belongs to another member. */
export const isLoss = (error: unknown): boolean =>
  typeOf(error) === 'UNKNOWN_MEMBER_ID' || typeOf(error) === 'ILLEGAL_GENERATION'

export interface Heartbeats {
  /** Aborts if the partition belongs to another member. */
  readonly lost: AbortController
  /**
   * True if the batch must end, because the group rebalances and waits for this member, or has
   * removed it.
   */
  readonly mustEnd: boolean
  stop(): void
}

/**
 * Sends heartbeats while a batch is handled. kafkajs sends them only between batches, so the group
 * would remove the member during a slow handler.
 */
export const startHeartbeats = ({ heartbeat }: EachBatchPayload): Heartbeats => {
  const lost = new AbortController()
  let isRebalancing = false
  const timer = setInterval(() => {
    heartbeat().catch((error: unknown) => {
      if (isLoss(error)) lost.abort(error)
      if (typeOf(error) === 'REBALANCE_IN_PROGRESS') isRebalancing = true
    })
  }, HEARTBEAT_INTERVAL_MS)
  return {
    lost,
    get mustEnd() {
      return isRebalancing || lost.signal.aborted
    },
    stop: () => clearInterval(timer),
  }
}
