import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, Batch, ConsumerCrashEvent, ConsumerGroupJoinEvent, EachBatchPayload, Kafka, KafkaMessage } from 'kafkajs'
import { untilDone } from '../back-off.ts'
import type { Diagnosis } from '../blocked.ts'
import type { Logger } from '../log.ts'
import { assignerOf, describeGroup, type GroupDescription } from './consumer-group.ts'
import { isCoordinatorSearch } from './coordinator-patch.ts'
import { BLOCKED_BACK_OFF, type Diagnose } from './diagnosis.ts'
import { unreadableOf } from './fetch-patch.ts'
import type { UnreadableBatch } from './record-batches.ts'
import { readWatermarks, type Watermarks } from './watermarks.ts'

/** A stretch of one partition, as one fetch brought it. */
export interface FetchedBatch {
  readonly partition: number
  /** Offset requested by this fetch. The caller compares it with the position it expects. */
  readonly fetchedFrom: string
  readonly records: readonly KafkaMessage[]
  /** Offset of the next fetch. It lies beyond the last record if control records or records of aborted transactions follow, which are left out. */
  readonly nextOffset: string
  /** The batch at `fetchedFrom`, if it cannot be decoded. There are no records then. */
  readonly unreadable?: UnreadableBatch
  readonly highWatermark: string
  /** Aborts when the partition may belong to another member, a seek has made this batch stale, or the consumer stops. Work done after that must be harmless. */
  readonly signal: AbortSignal
}

export type { KafkaMessage }

export interface PartitionConsumerOptions {
  readonly groupId: string
  /** Id that the other members of the group see of this one. */
  readonly instance: string
  readonly topic: string
  readonly sessionTimeoutMs: number
  readonly heartbeatIntervalMs: number
  /** How long a fetch waits for data; also how long a stop waits for a fetch. */
  readonly maxWaitMs: number
  /** Maximum bytes of one fetch, over all partitions. A larger batch of records is fetched alone. */
  readonly maxFetchBytes: number
  readonly partitionsConcurrently: number
  readonly logger: Logger
  readonly diagnose: Diagnose
  /** Called with each reason why the consumer is in no group or may not fetch, and with undefined when it fetches again. */
  readonly onProblem?: (problem: Diagnosis | undefined) => void
  /** A new assignment begins; expected positions are void. Called before the first fetch, and with no partition when the group cannot be reached. */
  readonly onAssigned: (partitions: readonly number[]) => void
  /**
   * Handles a batch in order.
   * @returns the next offset to fetch, or undefined if that is not for this batch to say (aborted, or a seek was made). Must not throw: a throw is a bug of ours.
   */
  readonly onBatch: (batch: FetchedBatch) => Promise<string | undefined>
  /** The consumer is dead and will not come back: the process must end, so that it is started again. */
  readonly onDead: (error: Error) => void
}

export interface PartitionConsumer {
  /** Connects ahead of `start`, so that a broker that hangs is waited for once by all clients of a process. */
  connect(): Promise<void>
  start(): Promise<void>
  seek(partition: number, offset: string): void
  /** Fetches nothing from this partition until the returned function is called. The other partitions are not held up. */
  hold(partition: number): () => void
  /** For lag monitoring only; positions live elsewhere. @returns whether Kafka took it. Never throws. */
  commit(offsets: ReadonlyMap<number, string>): Promise<boolean>
  /** Watermarks of the partitions whose leader answers. */
  watermarks(): Promise<ReadonlyMap<number, Watermarks>>
  /** The group as its coordinator knows it. Rejects if that does not answer. */
  group(): Promise<GroupDescription>
  /** Milliseconds since the consumer last showed a sign of life: a request that was answered or timed out, a batch under way, or a new try after a failure. */
  quietMs(): number
  /** Whether this process is a member of the group. False while the group is rebalancing. A member without partitions is joined. */
  readonly joined: boolean
  /** The last reason why the consumer is in no group or may not fetch. Undefined once it fetches. */
  readonly problem: Diagnosis | undefined
  stop(): Promise<void>
}

/** What Kafka answers to the heartbeat of a member that has to join anew. After any other error (no connection, a coordinator still loading) kafkajs just goes on. */
const lostBy: ReadonlySet<string | undefined> = new Set([
  'REBALANCE_IN_PROGRESS',
  'UNKNOWN_MEMBER_ID',
  'ILLEGAL_GENERATION',
  'NOT_COORDINATOR_FOR_GROUP',
])
const saysPartitionIsLost = (error: unknown): boolean => lostBy.has((error as { type?: string }).type)

/**
 * kafkajs calls these final, and ends the consumer: a connection that takes long, and most failures of the search for the coordinator. Without this, such an outage
 * ends the process, again and again for as long as it lasts.
 */
const isOutage = (error: Error): boolean =>
  error.name === 'KafkaJSLockTimeout' || isCoordinatorSearch(error) || (error.cause instanceof Error && isOutage(error.cause))
const START_AGAIN = { initialMs: 500, maxMs: 2000 }

/** kafkajs has the property but does not declare it. kafka.int.test.ts fails if a newer version drops it. */
const fetchedFrom = (batch: Batch): string => (batch as Batch & { readonly fetchedOffset: string }).fetchedOffset

const FAILURE_LOG_INTERVAL_MS = 10_000

const after = (offset: string): string => String(BigInt(offset) + 1n)

/** A consumer of one topic that hands over batches by partition and leaves positions to its user. */
export const createPartitionConsumer = (kafka: Kafka, admin: Admin, options: PartitionConsumerOptions): PartitionConsumer => {
  const { groupId, topic, logger } = options
  const underWay = new Set<AbortController>()
  let lastSignOfLife = performance.now()
  const alive = () => {
    lastSignOfLife = performance.now()
  }
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: options.sessionTimeoutMs,
    // kafkajs' minute is longer than a silent consumer is left alive: those who wait for one slow member to join would all end. One that comes too late joins again.
    rebalanceTimeout: options.sessionTimeoutMs,
    heartbeatInterval: options.heartbeatIntervalMs,
    maxWaitTimeInMs: options.maxWaitMs,
    maxBytes: options.maxFetchBytes,
    metadataMaxAge: 30_000,
    allowAutoTopicCreation: false,
    partitionAssigners: [assignerOf(options.instance)],
    // kafkajs gives up a run after these retries and starts a new one; there is no end to that, since an outage may last.
    retry: { retries: 5, initialRetryTime: 200, maxRetryTime: 2000 },
  })

  const eachBatch = async ({ batch, heartbeat, resolveOffset, isRunning, isStale }: EachBatchPayload): Promise<void> => {
    if (!isRunning() || isStale()) return
    const lost = new AbortController()
    underWay.add(lost)
    // kafkajs sends heartbeats only between batches: during a long wait for Redis the member would be thrown out of the group.
    const beat = setInterval(() => {
      if (!isRunning() || isStale()) return lost.abort()
      heartbeat().then(alive, (error: unknown) => saysPartitionIsLost(error) && lost.abort())
    }, options.heartbeatIntervalMs / 3)
    const unreadable = unreadableOf(batch)
    try {
      const next = await options.onBatch({
        partition: batch.partition,
        fetchedFrom: fetchedFrom(batch),
        records: batch.messages,
        nextOffset: after(batch.lastOffset()),
        ...(unreadable && { unreadable }),
        highWatermark: batch.highWatermark,
        signal: lost.signal,
      })
      if (next !== undefined) resolveOffset(String(BigInt(next) - 1n))
    } catch (error) {
      // Thrown on, a TypeError would end the consumer for good while the process lives; another error would be retried for ever.
      const place = `${topic}/${batch.partition} from offset ${fetchedFrom(batch)}`
      options.onDead(new Error(`${place}: ${(error as Error).message}`, { cause: error }))
    } finally {
      clearInterval(beat)
      underWay.delete(lost)
      alive()
    }
  }

  const connect = () => consumer.connect()
  const start = async () => {
    await connect()
    // An offset that Kafka no longer has would otherwise be answered by a silent jump to the end of the partition.
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
  /** After kafkajs has given up and let go of everything. If this run fails as well, that is a crash of its own. */
  const startAgain = async (pauseMs: number) => {
    options.onAssigned([])
    const { signal } = stopping
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined)
    const attempt = async () => {
      await start()
      // Stopped meanwhile.
      if (signal.aborted) await consumer.disconnect()
    }
    const onFailure = (error: Error) => {
      alive()
      setProblem(diagnose(error))
    }
    await untilDone(attempt, { signal, backOff: () => (problem?.blocked ? BLOCKED_BACK_OFF : START_AGAIN), onFailure })
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
  // A member may join without the right to fetch. By then each broker has answered a fetch, or the consumer has crashed.
  consumer.on(consumer.events.FETCH, () => {
    if (problem && joined && performance.now() - joinedAt > 2 * options.maxWaitMs) setProblem(undefined)
  })
  // Whatever it asks of whichever broker: looking in vain for the coordinator of the group is life as well.
  consumer.on(consumer.events.REQUEST, alive)
  consumer.on(consumer.events.REQUEST_TIMEOUT, alive)
  let lastFailureLogged = Number.NEGATIVE_INFINITY
  consumer.on(consumer.events.CRASH, ({ payload }: ConsumerCrashEvent) => {
    const diagnosis = diagnose(payload.error)
    if (!payload.restart && !diagnosis.blocked && !isOutage(payload.error)) return options.onDead(payload.error)
    joined = false
    setProblem(diagnosis)
    if (!payload.restart) void startAgain(diagnosis.blocked ? BLOCKED_BACK_OFF.initialMs : START_AGAIN.initialMs)
    // It tries again several times a second while Kafka is down: alive, and not worth a line each time.
    alive()
    if (performance.now() - lastFailureLogged < FAILURE_LOG_INTERVAL_MS) return
    lastFailureLogged = performance.now()
    logger.warn({ event: 'consumer-restarts', err: payload.error }, 'the consumer failed and starts again')
  })

  return {
    connect,
    start,
    seek: (partition, offset) => {
      try {
        consumer.seek({ topic, partition, offset })
      } catch (error) {
        // Only between two runs of a consumer that starts again; the next assignment seeks anew.
        logger.debug({ err: error, partition, offset }, 'seek while the consumer is not running')
      }
    },
    hold: (partition) => {
      const partitions = [{ topic, partitions: [partition] }]
      // Neither is possible between two runs of a consumer that starts again, which then fetches from the partition as from any.
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
        await consumer.commitOffsets([...offsets].map(([partition, offset]) => ({ topic, partition, offset })))
        return true
      } catch (error) {
        logger.debug({ err: error }, 'could not commit offsets for lag monitoring')
        return false
      }
    },
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
      for (const batch of underWay) batch.abort()
      await consumer.disconnect()
    },
  }
}
