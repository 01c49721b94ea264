import { type PlacedRecord, topicNames } from '@customer-stream/schemas'
import type { EachBatchPayload, Kafka } from 'kafkajs'
import { createDeliveryAssignment, type DeliveryAssignment } from './delivery-assignment.ts'
import { type DeliveryHandling, storeChunk } from './delivery-store.ts'
import { HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS, startHeartbeats } from './heartbeats.ts'
import { placeOf } from './invalid-record.ts'
import { type RunningConsumer, runConsumer, SubscriberError } from './run-consumer.ts'
import { checkCount, checkTimeLimit, withTimeLimit } from './time-limit.ts'

export interface DeliverySubscription extends DeliveryHandling {
  readonly kafka: Kafka
  /**
   * Consumer group, whose members share the partitions. The group's committed offsets are not used,
   * because the store has the positions.
   */
  readonly groupId: string
  /** Default: `mykaarma.customers.raw`. */
  readonly topic?: string | undefined
  /** Ends the subscription gracefully: waits for the running transaction. */
  readonly signal?: AbortSignal | undefined
  /**
   * Time limit for a call of `store.position`, and for all calls of one chunk together:
   * `onInvalid`, `park`, `store.versions` and `store.commit`. A call that takes longer ends the
   * subscription with an error. In milliseconds: 1 to 2147483647 (24 days). Default: 300000 (5
   * minutes).
   */
  readonly storeTimeoutMs?: number | undefined
  /** Maximum number of records in one transaction. Default: 500. */
  readonly maxRecords?: number | undefined
}

const STORE_TIMEOUT_MS = 300_000
const MAX_RECORDS = 500

/** Stores one chunk. Returns false if another process has moved the position. */
const handleChunk = async (
  chunk: readonly [PlacedRecord, ...PlacedRecord[]],
  assignment: DeliveryAssignment,
  subscription: DeliverySubscription,
): Promise<boolean> => {
  const { storeTimeoutMs = STORE_TIMEOUT_MS } = subscription
  const [first] = chunk
  const onTimeout = () => {
    const what = `storing ${chunk.length} records took longer than ${storeTimeoutMs} ms (storeTimeoutMs)`
    return new SubscriberError(`${placeOf(first)}: ${what}`)
  }
  const from = assignment.position(first.partition)
  const next = await withTimeLimit(storeTimeoutMs, () => storeChunk(chunk, from, subscription), onTimeout)
  if (next === undefined) await assignment.reload(first.partition)
  else assignment.move(first.partition, next)
  return next !== undefined
}

const handleBatch = async (
  payload: EachBatchPayload,
  assignment: DeliveryAssignment,
  running: RunningConsumer,
  subscription: DeliverySubscription,
): Promise<void> => {
  const { batch, resolveOffset, isRunning, isStale } = payload
  const { topic, partition } = batch
  const { maxRecords = MAX_RECORDS } = subscription
  const beats = startHeartbeats(payload)
  const mustEnd = () => running.isEnding || !isRunning() || isStale() || beats.mustEnd
  try {
    if (mustEnd() || !(await assignment.isNext(partition, batch.messages[0]?.offset ?? ''))) return
    for (let start = 0; !mustEnd(); start += maxRecords) {
      const messages = batch.messages.slice(start, start + maxRecords)
      const [first, ...rest] = messages.map((message) => ({ topic, partition, ...message }))
      if (!first || !(await handleChunk([first, ...rest], assignment, subscription))) return
      resolveOffset(messages.at(-1)?.offset ?? '')
    }
  } finally {
    beats.stop()
  }
}

/**
 * Passes the events of the raw topic to a store, together with the position. The store gets each
 * event once, in the order of the topic. The store gets no duplicate event, and no event that is
 * older than the customer's stored version.
 * Resolves when the signal has aborted and the running transaction has ended.
 * @throws RangeError if `storeTimeoutMs` or `maxRecords` is out of range.
 * @throws SubscriberError if the store failed or took too long, if `onInvalid` decided `stop`, if
 *   Kafka no longer has the records at a position, or if the consumer has ended. Let the process
 *   exit, so that its supervisor starts it again.
 */
export const subscribeToDeliveries = async (subscription: DeliverySubscription): Promise<void> => {
  const { kafka, groupId, topic = topicNames().customers, store, signal } = subscription
  const { storeTimeoutMs = STORE_TIMEOUT_MS, maxRecords = MAX_RECORDS } = subscription
  checkTimeLimit('storeTimeoutMs', storeTimeoutMs)
  checkCount('maxRecords', maxRecords)
  const admin = kafka.admin({ retry: { retries: 1 } })
  let assignment: DeliveryAssignment | undefined
  let loads: Promise<unknown> = Promise.resolve()

  const setUp = (running: RunningConsumer) => {
    const { consumer } = running
    // Errors are not rethrown, because kafkajs would repeat the batch forever, or end the consumer
    // but not the process.
    const fail = (error: unknown): void => {
      if (error !== running.signal.reason) running.fail(error)
    }
    consumer.on(consumer.events.GROUP_JOIN, ({ payload: { memberAssignment } }) => {
      assignment?.end()
      const partitions = memberAssignment[topic] ?? []
      assignment = createDeliveryAssignment({ topic, partitions, store, storeTimeoutMs, admin, running })
      loads = Promise.allSettled([loads, assignment.loading.catch(fail)])
    })
    // When kafkajs emits STOP, it has left the group, but it may still join the group again.
    consumer.on(consumer.events.STOP, () => assignment?.end())
    return {
      eachBatch: async (payload: EachBatchPayload) => {
        if (assignment) await handleBatch(payload, assignment, running, subscription).catch(fail)
      },
    }
  }
  try {
    await runConsumer({
      kafka,
      topic,
      signal,
      setUp,
      config: {
        groupId,
        sessionTimeout: SESSION_TIMEOUT_MS,
        heartbeatInterval: HEARTBEAT_INTERVAL_MS,
        // A rebalance must wait for the running transaction.
        rebalanceTimeout: Math.max(storeTimeoutMs, SESSION_TIMEOUT_MS),
      },
    })
  } finally {
    await loads
    // Disconnect after all requests have ended, because a request in flight would connect again.
    await admin.disconnect()
  }
}
