import type { Consumer, ConsumerConfig, ConsumerRunConfig, Kafka } from 'kafkajs'

/** A subscription or a table has ended because of an error, which is the `cause`. */
export class SubscriberError extends Error {
  override readonly name = 'SubscriberError'
}

/** Returns the text of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** One consumer that runs. */
export interface RunningConsumer {
  readonly consumer: Consumer
  /** True from the abort of the signal or the first failure. Then no more records are handled. */
  readonly isEnding: boolean
  /** Aborts when `isEnding` becomes true. */
  readonly signal: AbortSignal
  /** Ends the run, which rejects with this error. */
  fail(error: SubscriberError): void
}

export interface RunOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly config: Omit<ConsumerConfig, 'allowAutoTopicCreation' | 'retry'>
  /** Ends the run gracefully. */
  readonly signal?: AbortSignal | undefined
  /** Adds listeners to the consumer, and returns what it does with batches. */
  readonly setUp: (running: RunningConsumer) => ConsumerRunConfig
}

/** A stop waits for the fetch that is under way. */
const MAX_WAIT_MS = 500

/**
 * Runs a consumer of one topic until the signal aborts. During an outage of Kafka it waits.
 * @throws SubscriberError if it failed, or if kafkajs gave up. It is then disconnected.
 */
export const runConsumer = async ({ kafka, topic, config, signal, setUp }: RunOptions): Promise<void> => {
  if (signal?.aborted) return
  const ended = Promise.withResolvers<void>()
  const ending = new AbortController()
  const isEnding = () => ending.signal.aborted
  let failure: SubscriberError | undefined
  const end = () => {
    ending.abort()
    ended.resolve()
  }
  const fail = (error: SubscriberError) => {
    failure ??= error
    end()
  }
  const consumer = kafka.consumer({
    maxWaitTimeInMs: MAX_WAIT_MS,
    ...config,
    allowAutoTopicCreation: false,
    // Otherwise a crash during the stop would start the consumer again.
    retry: { restartOnFailure: async () => !isEnding() },
  })
  // kafkajs emits this event also for failures after which it starts again, such as an outage.
  consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
    if (!restart && !isEnding())
      fail(new SubscriberError(`the consumer of ${topic} has ended: ${error.message}`, { cause: error }))
  })
  const runConfig = setUp({
    consumer,
    get isEnding() {
      return isEnding()
    },
    signal: ending.signal,
    fail,
  })
  const start = async () => {
    try {
      await consumer.connect()
      // Without `fromBeginning`, kafkajs silently jumps to the end of a partition if Kafka no
      // longer has the offset.
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      if (!isEnding()) await consumer.run({ ...runConfig, autoCommit: false, eachBatchAutoResolve: false })
    } catch (error) {
      if (!isEnding()) fail(new SubscriberError(`cannot read ${topic}: ${messageOf(error)}`, { cause: error }))
    }
  }
  signal?.addEventListener('abort', end, { once: true })
  const starting = start()
  await ended.promise
  signal?.removeEventListener('abort', end)
  // kafkajs cannot be stopped while it starts: it would connect again.
  await starting
  await consumer.disconnect()
  if (failure) throw failure
}
