import { setTimeout as sleep } from 'node:timers/promises'
import type { Consumer, ConsumerConfig, ConsumerRunConfig, Kafka } from 'kafkajs'
import { createConsumer } from './own-offsets.ts'

/** Error that has ended a subscription or a table. `cause` is the original error. */
export class SubscriberError extends Error {
  override readonly name = 'SubscriberError'
}

/** Returns the message of an error, or of any other thrown value. */
export const messageOf = (error: unknown): string => {
  if (error instanceof Error) return error.message
  try {
    return String(error)
  } catch {
    return 'the thrown value has no text'
  }
}

/** Returns true if the error, or one of its causes, is a broker's answer of this type. */
const isAnswer = (error: unknown, expected: string): boolean => {
  const { type, cause } = (error ?? {}) as { readonly type?: unknown; readonly cause?: unknown }
  return type === expected || (cause !== undefined && cause !== error && isAnswer(cause, expected))
}

/** Returns true if a broker has answered that the topic is unknown. */
export const isUnknownTopic = (error: unknown): boolean => isAnswer(error, 'UNKNOWN_TOPIC_OR_PARTITION')

/** State of a running consumer. */
export interface RunningConsumer {
  readonly consumer: Consumer
  /**
   * True after the abort of the signal or the first failure. After that, no further record may be
   * handled.
   */
  readonly isEnding: boolean
  /** Aborts when `isEnding` becomes true. */
  readonly signal: AbortSignal
  /** Ends the run. The run's promise rejects with this error, as a SubscriberError. */
  fail(error: unknown): void
}

export interface RunOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly config: Omit<ConsumerConfig, 'allowAutoTopicCreation' | 'retry'>
  /** Ends the run gracefully. */
  readonly signal?: AbortSignal | undefined
  /** Adds listeners to the consumer. Returns the handler of batches. */
  readonly setUp: (running: RunningConsumer) => ConsumerRunConfig
}

/**
 * Maximum wait of a fetch. It is short, because the end of a run waits for the fetch in flight.
 */
const MAX_WAIT_MS = 500

/** Pause between the end of a consumer in an outage and its next start. */
const RESTART_PAUSE_MS = 1000

/** Returns why kafkajs cannot read the topic. Names the missing right, if a right is missing. */
const reasonOf = (error: unknown, topic: string, groupId: string): string => {
  if (isUnknownTopic(error)) return 'Kafka has no such topic. Check the name of the topic and the brokers'
  if (isAnswer(error, 'TOPIC_AUTHORIZATION_FAILED')) return `the user needs the right READ on the topic ${topic}`
  if (isAnswer(error, 'GROUP_AUTHORIZATION_FAILED')) return `the user needs the right READ on the group ${groupId}`
  return messageOf(error)
}

/**
 * Runs a consumer of one topic until the signal aborts. If Kafka fails after the start, waits until
 * Kafka answers again.
 * @throws SubscriberError if `fail` was called, if the start failed, or if kafkajs has stopped the
 *   consumer. The consumer is then disconnected.
 */
export const runConsumer = async ({ kafka, topic, config, signal, setUp }: RunOptions): Promise<void> => {
  if (signal?.aborted) return
  const ended = Promise.withResolvers<void>()
  const ending = new AbortController()
  const isEnding = () => ending.signal.aborted
  const why = (error: unknown) => reasonOf(error, topic, config.groupId)
  let failure: SubscriberError | undefined
  /** True if the last crash of the consumer may be an outage of Kafka. */
  let isOutage = false
  const end = () => {
    ending.abort()
    ended.resolve()
  }
  const fail = (error: unknown) => {
    failure ??= error instanceof SubscriberError ? error : new SubscriberError(messageOf(error), { cause: error })
    end()
  }
  const consumer = createConsumer(kafka, {
    maxWaitTimeInMs: MAX_WAIT_MS,
    ...config,
    allowAutoTopicCreation: false,
    retry: {
      // If the failure may be an outage, kafkajs calls this function, and then emits CRASH. kafkajs
      // must not restart the consumer, because `disconnect` cannot stop a start that is in
      // progress. The consumer would then join the group again after the end of the run.
      restartOnFailure: async () => {
        isOutage = true
        return false
      },
    },
  })
  const runConfig = setUp({
    consumer,
    get isEnding() {
      return isEnding()
    },
    signal: ending.signal,
    fail,
  })
  const run = async () => {
    if (!isEnding()) await consumer.run({ ...runConfig, autoCommit: false, eachBatchAutoResolve: false })
  }
  const start = async () => {
    try {
      await consumer.connect()
      // Without `fromBeginning`, kafkajs silently jumps to the end of a partition if Kafka no
      // longer has the offset.
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      await run()
    } catch (error) {
      if (!isEnding()) fail(new SubscriberError(`cannot read ${topic}: ${why(error)}`, { cause: error }))
    }
  }
  let starting: Promise<void> | undefined
  const restart = async (previous: Promise<void> | undefined) => {
    await previous
    await sleep(RESTART_PAUSE_MS, undefined, { signal: ending.signal }).catch(() => undefined)
    await run().catch(fail)
  }
  consumer.on(consumer.events.CRASH, ({ payload: { error } }) => {
    if (isEnding()) return
    if (isOutage) starting = restart(starting)
    else fail(new SubscriberError(`the consumer of ${topic} has ended: ${why(error)}`, { cause: error }))
    isOutage = false
  })
  signal?.addEventListener('abort', end, { once: true })
  starting = start()
  await ended.promise
  signal?.removeEventListener('abort', end)
  // Wait for the start, because a consumer that is stopped during its start would connect again.
  await starting
  await consumer.disconnect()
  if (failure) throw failure
}
