import { setTimeout as sleep } from 'node:timers/promises'
import type { Consumer, ConsumerCrashEvent, ConsumerGroupJoinEvent } from 'kafkajs'
import { retryWithBackoff } from '../process/backoff.ts'
import type { Diagnosis } from '../process/blocked.ts'
import type { Logger } from '../process/log.ts'
import { type BatchHandlerOptions, createBatchHandler } from './batch-handler.ts'
import {
  assignerOf,
  type CommittedOffset,
  describeGroup,
  type GroupDescription,
  readCommitted,
} from './consumer-group.ts'
import { BLOCKED_BACKOFF, type Diagnose } from './diagnosis.ts'
import { type KafkaClient, kafkajsOf } from './kafka-client.ts'
import { isCoordinatorSearch } from './patches/coordinator.ts'
import type { TopicAdmin } from './topic-admin.ts'
import { readWatermarks, type Watermarks } from './watermarks.ts'

export interface PartitionConsumerOptions extends BatchHandlerOptions {
  readonly groupId: string
  /** Id that this member sends to the group when it joins. */
  readonly instance: string
  readonly sessionTimeoutMs: number
  /**
   * Maximum time for which the broker waits for data. A shutdown waits for the fetch in flight.
   */
  readonly maxWaitMs: number
  /** Maximum bytes of one fetch, over all partitions. A larger batch is fetched alone. */
  readonly maxFetchBytes: number
  readonly partitionsConcurrently: number
  readonly logger: Logger
  readonly diagnose: Diagnose
  /**
   * Called with the reason each time the consumer is in no group or may not fetch. Called with
   * undefined when the consumer fetches again.
   */
  readonly onProblem?: (problem: Diagnosis | undefined) => void
  /**
   * Called before the first fetch of each new assignment. The caller must forget its expected
   * positions. Called with an empty list if the group cannot be reached.
   */
  readonly onAssigned: (partitions: readonly number[]) => void
}

export interface PartitionConsumer {
  /**
   * Connects before `start`. All clients of a process can then connect in parallel. So a hanging
   * broker delays the start by only one timeout, not by one timeout for each client.
   */
  connect(): Promise<void>
  start(): Promise<void>
  seek(partition: number, offset: string): void
  /** Pauses this partition until the returned function is called. The other partitions continue. */
  pause(partition: number): () => void
  /** Commits offsets to Kafka. Never throws. @returns true if Kafka accepted the offsets. */
  commit(offsets: ReadonlyMap<number, CommittedOffset>): Promise<boolean>
  /** Reads the committed offsets of the group, by partition. Rejects if Kafka does not answer. */
  committed(): Promise<ReadonlyMap<number, CommittedOffset>>
  /** Returns the watermarks of the partitions whose leader answers. */
  watermarks(): Promise<ReadonlyMap<number, Watermarks>>
  /** Reads the members of the group. Rejects if the group's coordinator does not answer. */
  group(): Promise<GroupDescription>
  /**
   * Returns the milliseconds since the consumer's last activity. Activity is a heartbeat, the end
   * of a batch, a new attempt after a failure, or the end of a request by an answer or a timeout.
   */
  quietMs(): number
  /** True if this process is a member of the group. False while the group rebalances. */
  readonly joined: boolean
  /** Last reason why the consumer is in no group or may not fetch. Undefined while it fetches. */
  readonly problem: Diagnosis | undefined
  stop(): Promise<void>
}

/**
 * Returns true for errors that kafkajs calls final although an outage causes them. Examples are a
 * slow connection, and most failures of the search for the coordinator. kafkajs ends the consumer
 * after a final error. Without this check an outage would end the process again and again.
 */
const isOutage = (error: Error): boolean =>
  error.name === 'KafkaJSLockTimeout' ||
  isCoordinatorSearch(error) ||
  (error.cause instanceof Error && isOutage(error.cause))
const START_AGAIN = { initialMs: 500, maxMs: 2000 }

const FAILURE_LOG_INTERVAL_MS = 10_000

/** Moves, pauses and commits of a consumer that may be between two runs. */
const createControls = (
  consumer: Consumer,
  topic: string,
  logger: Logger,
): Pick<PartitionConsumer, 'seek' | 'pause' | 'commit'> => ({
  seek: (partition, offset) => {
    try {
      consumer.seek({ topic, partition, offset })
    } catch (error) {
      // A seek fails between two runs of the consumer. Ignore the error, because the next
      // assignment seeks again.
      logger.debug({ err: error, partition, offset }, 'seek while the consumer is not running')
    }
  },
  pause: (partition) => {
    const partitions = [{ topic, partitions: [partition] }]
    // Ignore errors of `pause` and `resume` between two runs of the consumer, because the next
    // run fetches from all partitions.
    const orNot = (change: () => void) => {
      try {
        change()
      } catch (error) {
        logger.debug({ err: error, partition }, 'pause or resume while the consumer is not running')
      }
    }
    orNot(() => consumer.pause(partitions))
    return () => orNot(() => consumer.resume(partitions))
  },
  commit: async (offsets) => {
    try {
      await consumer.commitOffsets([...offsets].map(([partition, each]) => ({ topic, partition, ...each })))
      return true
    } catch (error) {
      logger.debug({ err: error }, 'could not commit offsets')
      return false
    }
  },
})

/** Creates a consumer of one topic. The caller stores the positions. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its runs and events share one state
export const createPartitionConsumer = (
  kafka: KafkaClient,
  admin: TopicAdmin,
  options: PartitionConsumerOptions,
): PartitionConsumer => {
  const { groupId, topic, logger } = options
  let lastSignOfLife = performance.now()
  const alive = () => {
    lastSignOfLife = performance.now()
  }
  const { eachBatch, abortAll } = createBatchHandler(options, alive)
  const consumer = kafkajsOf(kafka).consumer({
    groupId,
    sessionTimeout: options.sessionTimeoutMs,
    // The watchdog ends a process whose consumer is silent for two session timeouts. kafkajs'
    // default `rebalanceTimeout` (60 s) may be longer. One slow member would then end all processes
    // that wait for it. With this value, the group removes a member that joins too late, and the
    // member joins again.
    rebalanceTimeout: options.sessionTimeoutMs,
    heartbeatInterval: options.heartbeatIntervalMs,
    maxWaitTimeInMs: options.maxWaitMs,
    maxBytes: options.maxFetchBytes,
    metadataMaxAge: 30_000,
    allowAutoTopicCreation: false,
    partitionAssigners: [assignerOf(options.instance)],
    // After these retries kafkajs starts the consumer again, without a limit, because an outage can
    // be long.
    retry: { retries: 5, initialRetryTime: 200, maxRetryTime: 2000 },
  })

  const connect = () => consumer.connect()
  const start = async () => {
    await connect()
    // Without fromBeginning, kafkajs silently jumps to the end of a partition if Kafka no longer
    // has the offset.
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: options.partitionsConcurrently,
      eachBatch,
    })
  }

  let joined = false
  let joinedAt = 0
  let problem: Diagnosis | undefined
  const setProblem = (diagnosis: Diagnosis | undefined) => {
    problem = diagnosis
    options.onProblem?.(diagnosis)
  }
  const diagnose = (error: Error) => options.diagnose(error, `read topic ${topic} in group ${groupId}`)

  const stopping = new AbortController()
  /**
   * Restarts the consumer after kafkajs has ended it and released the connections. If the new run
   * fails later, kafkajs emits another CRASH event.
   */
  const startAgain = async (pauseMs: number) => {
    options.onAssigned([])
    const { signal } = stopping
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined)
    const attempt = async () => {
      await start()
      // Disconnect if `stop` was called during the start.
      if (signal.aborted) await consumer.disconnect()
    }
    const onFailure = (error: Error) => {
      alive()
      setProblem(diagnose(error))
    }
    await retryWithBackoff(attempt, {
      signal,
      backoff: () => (problem?.blocked ? BLOCKED_BACKOFF : START_AGAIN),
      onFailure,
    })
  }

  consumer.on(consumer.events.GROUP_JOIN, ({ payload }: ConsumerGroupJoinEvent) => {
    const partitions = payload.memberAssignment[topic] ?? []
    logger.info({ event: 'group-joined', partitions, member: payload.memberId }, 'joined the consumer group')
    alive()
    joined = true
    joinedAt = performance.now()
    options.onAssigned(partitions)
  })
  consumer.on(consumer.events.REBALANCING, () => {
    joined = false
  })
  // A member without the right to fetch can join, so a join alone does not end the problem. Wait
  // for twice maxWaitMs after the join. In this time each broker answers a fetch, or the consumer
  // crashes.
  consumer.on(consumer.events.FETCH, () => {
    if (problem && joined && performance.now() - joinedAt > 2 * options.maxWaitMs) setProblem(undefined)
  })
  // Any request to a broker counts as activity, even a failed search for the group's coordinator.
  consumer.on(consumer.events.REQUEST, alive)
  consumer.on(consumer.events.REQUEST_TIMEOUT, alive)
  let lastFailureLogged = Number.NEGATIVE_INFINITY
  consumer.on(consumer.events.CRASH, ({ payload }: ConsumerCrashEvent) => {
    const diagnosis = diagnose(payload.error)
    if (!payload.restart && !diagnosis.blocked && !isOutage(payload.error)) return options.onDead(payload.error)
    joined = false
    setProblem(diagnosis)
    if (!payload.restart) void startAgain(diagnosis.blocked ? BLOCKED_BACKOFF.initialMs : START_AGAIN.initialMs)
    // Count a failure as activity. While Kafka is down, the consumer fails several times a second,
    // so limit the log lines.
    alive()
    if (performance.now() - lastFailureLogged < FAILURE_LOG_INTERVAL_MS) return
    lastFailureLogged = performance.now()
    logger.warn({ event: 'consumer-restarts', err: payload.error }, 'the consumer failed and starts again')
  })

  return {
    connect,
    start,
    ...createControls(consumer, topic, logger),
    committed: () => readCommitted(admin, groupId, topic),
    group: () => describeGroup(admin, groupId, topic),
    watermarks: () => readWatermarks(admin, topic),
    quietMs: () => performance.now() - lastSignOfLife,
    get joined() {
      return joined
    },
    get problem() {
      return problem
    },
    stop: async () => {
      stopping.abort()
      abortAll()
      await consumer.disconnect()
    },
  }
}
