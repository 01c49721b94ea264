import {
  type CustomerState,
  type PlacedRecord,
  readStateRecord,
  type StateRecordFault,
  stateTopicName,
} from '@customer-stream/schemas'
import type { EachBatchPayload, Kafka } from 'kafkajs'
import { HEARTBEAT_INTERVAL_MS, isLoss, SESSION_TIMEOUT_MS, startHeartbeats } from './heartbeats.ts'
import { handleInvalid, type InvalidHandling, placeOf } from './invalid-record.ts'
import { messageOf, type RunningConsumer, runConsumer, SubscriberError } from './run-consumer.ts'
import { withTimeLimit } from './time-limit.ts'

/** The current state of one customer, as the state topic has it. */
export interface CustomerChange {
  readonly customerUuid: string
  /** Null if the customer was erased. */
  readonly state: CustomerState | null
  readonly record: PlacedRecord
  /**
   * Aborts if the partition may now belong to another process, or after `handlerTimeoutMs`. An
   * error of the handler after that is ignored: the record is handled again.
   */
  readonly signal: AbortSignal
}

export interface CustomerSubscription extends InvalidHandling<StateRecordFault> {
  readonly kafka: Kafka
  /** Consumer group: its committed offsets are the place where a restart resumes. */
  readonly groupId: string
  /** Default: `mykaarma.customers.state`. */
  readonly topic?: string
  /**
   * Called for each document and each tombstone, for those of one customer in the order of the
   * topic. A record is handled again after a crash, so the handler must be idempotent. If it
   * rejects, the subscription ends with that error.
   */
  readonly onCustomer: (change: CustomerChange) => void | Promise<void>
  /** Ends the subscription gracefully: the running handlers end, and offsets are committed. */
  readonly signal?: AbortSignal
  /** Handlers that run at the same time, each for another partition. Default: 1. */
  readonly concurrency?: number
  /** A handler that takes longer ends the subscription with an error. Default: 5 minutes. */
  readonly handlerTimeoutMs?: number
  /** Longest time between two commits while records are handled. Default: 1 second. */
  readonly commitIntervalMs?: number
}

const HANDLER_TIMEOUT_MS = 300_000

const callHandlers = async (record: PlacedRecord, signal: AbortSignal, subscription: CustomerSubscription) => {
  const read = readStateRecord(record)
  if (!read.ok) return handleInvalid({ record, reason: read.reason, detail: read.detail }, subscription)
  try {
    await subscription.onCustomer({ ...read.value, record, signal })
  } catch (error) {
    throw new SubscriberError(`${placeOf(record)}: onCustomer failed: ${messageOf(error)}`, { cause: error })
  }
}

/** Handles one record. If the handlers take too long, this rejects and their signal aborts. */
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
 * Handles the records of a batch in order and commits the offsets of the handled ones. An error of
 * a handler ends the subscription. If it were thrown, kafkajs would repeat the batch forever, or
 * end the consumer for good while the process lives on.
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
        if (!isLoss(beats.lost.signal.reason)) running.fail(error as SubscriberError)
        break
      }
      resolveOffset(message.offset)
      if (performance.now() - committedAt < commitIntervalMs) continue
      await commit()
      committedAt = performance.now()
    }
    await commit()
  } catch (error) {
    // The commit failed. kafkajs joins the group again, or repeats the fetch.
    if (!running.isEnding) throw error
  } finally {
    beats.stop()
  }
}

/**
 * Calls `onCustomer` for each customer of the state topic, and then for each change, at least once.
 * @returns when the signal has aborted and the last handler has ended.
 * @throws SubscriberError if a handler failed or took too long, if `onInvalid` decided `stop`, or
 *   if the consumer has ended. Let the process exit, so that its supervisor starts it again.
 */
export const subscribeToCustomers = (subscription: CustomerSubscription): Promise<void> => {
  const { kafka, groupId, topic = stateTopicName(), signal, concurrency = 1 } = subscription
  const { handlerTimeoutMs = HANDLER_TIMEOUT_MS } = subscription
  return runConsumer({
    kafka,
    topic,
    signal,
    config: {
      groupId,
      sessionTimeout: SESSION_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_INTERVAL_MS,
      // A rebalance waits for the handlers that run.
      rebalanceTimeout: Math.max(handlerTimeoutMs, SESSION_TIMEOUT_MS),
    },
    setUp: (running) => ({
      partitionsConsumedConcurrently: concurrency,
      eachBatch: (payload) => handleBatch(payload, running, subscription),
    }),
  })
}
