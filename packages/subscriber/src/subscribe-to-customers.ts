import {
  type CustomerState,
  type PlacedRecord,
  readStateRecord,
  type StateRecordFault,
  stateTopicName,
} from '@customer-stream/schemas'
import type { EachBatchPayload, Kafka } from 'kafkajs'
import { HEARTBEAT_INTERVAL_MS, isLoss, SESSION_TIMEOUT_MS, startHeartbeats } from './heartbeats.ts'
import { call, handleInvalid, type InvalidHandling, placeOf } from './invalid-record.ts'
import { type RunningConsumer, runConsumer, SubscriberError } from './run-consumer.ts'
import { checkCount, checkTimeLimit, withTimeLimit } from './time-limit.ts'

/** Current state of one customer according to the state topic. */
export interface CustomerChange {
  readonly customerUuid: string
  /** Null if the customer was erased. */
  readonly state: CustomerState | null
  /**
   * The record of the state topic. Its only headers are `traceparent` and `tracestate`, if the raw
   * record had these headers.
   */
  readonly record: PlacedRecord
  /**
   * Aborts if another process may have the partition now, or after `handlerTimeoutMs`. Errors of
   * the handler after the abort are ignored, because the record is handled again.
   */
  readonly signal: AbortSignal
}

export interface CustomerSubscription extends InvalidHandling<StateRecordFault> {
  readonly kafka: Kafka
  /** Consumer group. A restart resumes at the group's committed offsets. */
  readonly groupId: string
  /** Default: `mykaarma.customers.state`. */
  readonly topic?: string | undefined
  /**
   * Called for each document and each tombstone. The calls for one customer are in the order of the
   * topic. The handler must be idempotent, because a record may be handled again after a crash. If
   * the handler rejects, the subscription ends with its error.
   */
  readonly onCustomer: (change: CustomerChange) => void | Promise<void>
  /**
   * Ends the subscription gracefully: waits for the running handlers, and commits their offsets.
   */
  readonly signal?: AbortSignal | undefined
  /** Maximum handlers that run at the same time, each for another partition. Default: 1. */
  readonly concurrency?: number | undefined
  /**
   * Time limit of a handler, in milliseconds: 1 to 2147483647 (24 days). A handler that takes
   * longer ends the subscription with an error. Default: 300000 (5 minutes).
   */
  readonly handlerTimeoutMs?: number | undefined
  /** Maximum milliseconds between two commits while records are handled. Default: 1000. */
  readonly commitIntervalMs?: number | undefined
}

const HANDLER_TIMEOUT_MS = 300_000

const callHandlers = async (record: PlacedRecord, signal: AbortSignal, subscription: CustomerSubscription) => {
  const read = readStateRecord(record)
  if (!read.ok) return handleInvalid({ record, reason: read.reason, detail: read.detail }, subscription)
  const change = { ...read.value, record, signal }
  await call('onCustomer', placeOf(record), () => subscription.onCustomer(change))
}

/** Handles one record. If the handler takes too long, rejects and aborts `lost`. */
const handleRecord = (record: PlacedRecord, lost: AbortController, subscription: CustomerSubscription) => {
  const { handlerTimeoutMs = HANDLER_TIMEOUT_MS } = subscription
  const onTimeout = () => {
    const error = new SubscriberError(
      `${placeOf(record)}: the handler took longer than ${handlerTimeoutMs} ms (handlerTimeoutMs)`,
    )
    lost.abort(error)
    return error
  }
  return withTimeLimit(handlerTimeoutMs, () => callHandlers(record, lost.signal, subscription), onTimeout)
}

/**
 * Handles the records of a batch in order, and commits their offsets. A handler's error ends the
 * subscription. The error is not rethrown, because kafkajs would repeat the batch forever, or end
 * the consumer but not the process.
 */
const handleBatch = async (
  payload: EachBatchPayload,
  running: RunningConsumer,
  subscription: CustomerSubscription,
): Promise<void> => {
  const { batch, resolveOffset, commitOffsetsIfNecessary, uncommittedOffsets, isRunning, isStale } = payload
  const { topic, partition } = batch
  const { commitIntervalMs = 1000 } = subscription
  const beats = startHeartbeats(payload)
  const commit = () => commitOffsetsIfNecessary(uncommittedOffsets())
  let committedAt = performance.now()
  try {
    for (const message of batch.messages) {
      if (running.isEnding || !isRunning() || isStale() || beats.mustEnd) break
      const record: PlacedRecord = { topic, partition, ...message }
      try {
        await handleRecord(record, beats.lost, subscription)
      } catch (error) {
        if (!isLoss(beats.lost.signal.reason)) running.fail(error)
        break
      }
      resolveOffset(message.offset)
      if (performance.now() - committedAt < commitIntervalMs) continue
      await commit()
      committedAt = performance.now()
    }
    await commit()
  } catch (error) {
    // The commit failed. After this error kafkajs joins the group again, or repeats the fetch.
    if (!running.isEnding) throw error
  } finally {
    beats.stop()
  }
}

/**
 * Calls `onCustomer` for each customer of the state topic, and then for each change
 * (at-least-once). Resolves when the signal has aborted and the last handler has ended.
 * @throws RangeError if `handlerTimeoutMs` or `concurrency` is out of range.
 * @throws SubscriberError if a handler failed or took too long, if `onInvalid` returned `stop`, or
 *   if the consumer has ended. Let the process exit, so that its supervisor starts it again.
 */
export const subscribeToCustomers = async (subscription: CustomerSubscription): Promise<void> => {
  const { kafka, groupId, topic = stateTopicName(), signal, concurrency = 1 } = subscription
  const { handlerTimeoutMs = HANDLER_TIMEOUT_MS } = subscription
  checkTimeLimit('handlerTimeoutMs', handlerTimeoutMs)
  checkCount('concurrency', concurrency)
  return runConsumer({
    kafka,
    topic,
    signal,
    config: {
      groupId,
      sessionTimeout: SESSION_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_INTERVAL_MS,
      // A rebalance must wait for the running handlers.
      rebalanceTimeout: Math.max(handlerTimeoutMs, SESSION_TIMEOUT_MS),
    },
    setUp: (running) => ({
      partitionsConsumedConcurrently: concurrency,
      eachBatch: (payload) => handleBatch(payload, running, subscription),
    }),
  })
}
