import type { TopicAdmin } from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import type { TopicNames } from '@customer-stream/schemas'

/**
 * Called with every record and every ledger entry, so that the fault suite can count them. Called
 * only if there is a ledger.
 */
export interface Observer {
  record(seen: {
    readonly topic: string
    readonly partition: number
    readonly offset: string
    readonly fingerprint: string
    readonly usable: boolean
  }): void
  promise(fingerprint: string): void
}

export interface VerifyOptions {
  readonly admin: TopicAdmin
  readonly redis: RedisClient
  readonly topics: TopicNames
  /** If undefined, the state topic is not compared. */
  readonly stateTopic?: string | undefined
  /** If true, verify compares the indexes with all hashes. Default: false. */
  readonly withIndexes?: boolean
  /** If undefined, no customer is expected to be erased. */
  readonly erasuresTopic?: string | undefined
  readonly keyPrefix: string
  readonly projection: number
  /** Path of the ledger. If undefined, verify does not look for acknowledged events in Kafka. */
  readonly ledgerPath?: string
  /**
   * Selects the customers with an event that was received at `sinceMs` or later, and before
   * `untilMs`. Times are Unix milliseconds.
   */
  readonly sinceMs?: number
  readonly untilMs?: number
  /**
   * Share of the customers to compare, 0 to 1. The same share always selects the same customers.
   */
  readonly sample?: number
  /** The projector's setting MAX_FUTURE_MS. */
  readonly maxFutureMs?: number
  /**
   * True if the load has stopped and the whole topic is read. Each hash that is newer than Kafka's
   * events is then a problem, and so is each customer that only Redis has.
   */
  readonly exact?: boolean
  /**
   * Maximum wait for the projector in milliseconds. Also the maximum wait for open transactions.
   */
  readonly catchUpMs?: number
  readonly onProgress?: (step: string) => void
  readonly observer?: Observer
  readonly signal?: AbortSignal
}

/**
 * Maximum length of a list of ids. The list must fit into memory, and no person reads a longer
 * list.
 */
export const MAX_NAMED = 10_000
