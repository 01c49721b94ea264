/**
 * Starts the projector: opens the admin port, connects to Redis and Kafka, checks both, and joins
 * the consumer group. During an outage, the projector retries without limit. If a topic is wrong or
 * Redis is unsafe, the process ends, because only a person can repair this.
 */
import {
  type Backoff,
  type Diagnosis,
  type Lifecycle,
  type Logger,
  type Obstacles,
  retryWithBackoff,
} from '@customer-stream/runtime'
import {
  BLOCKED_BACKOFF,
  type Diagnose,
  type PartitionConsumer,
  type TopicAdmin,
  TopicError,
  type TopicWatch,
} from '@customer-stream/runtime/kafka'
import { connectRedis, type RedisClient } from '@customer-stream/runtime/redis'
import type { Outputs } from './outputs.ts'
import { type RedisCheck, UnsafeRedisError } from './redis-check.ts'
import type { Store } from './store.ts'

export interface StartupDependencies {
  readonly redis: RedisClient
  readonly redisCheck: Pick<RedisCheck, 'check' | 'diagnose'>
  readonly store: Pick<Store, 'ping' | 'announce'>
  readonly admin: Pick<TopicAdmin, 'connect'>
  readonly outputs: Pick<Outputs, 'connect'>
  readonly consumer: Pick<PartitionConsumer, 'connect' | 'start'>
  readonly topicWatch: Pick<TopicWatch, 'start' | 'checkRights'>
  /** Measures the progress. Rejects if Kafka or Redis does not answer. */
  readonly measure: () => Promise<void>
  readonly obstacles: Pick<Obstacles, 'report' | 'blocked'>
  readonly diagnose: Diagnose
  readonly logger: Pick<Logger, 'info'>
  /** Ends the process. */
  readonly lifecycle: Pick<Lifecycle, 'fail'>
}

export interface StartupOptions {
  readonly topic: string
  readonly groupId: string
  /** Id of this process in the consumer group. */
  readonly instance: string
  readonly backoff: Backoff
}

export interface Startup {
  /** `running` while the consumer is started. */
  readonly phase: 'starting' | 'running' | 'stopping'
  /**
   * True after Redis and Kafka have answered and the first topic check has ended, even with an
   * error. The lag must not be measured earlier: kafkajs cannot create a missing topic while it
   * asks for the end offsets of that topic.
   */
  readonly topicsChecked: boolean
  /**
   * Starts the projector. Resolves when the projector runs, stops or fails. Never rejects.
   * @param openAdminPort called first, so that /readyz can explain a long start.
   */
  run(openAdminPort: () => Promise<string>): Promise<void>
  stop(): void
}

export const createStartup = (deps: StartupDependencies, options: StartupOptions): Startup => {
  const { redis, redisCheck, store, admin, outputs, consumer, topicWatch, obstacles, diagnose, logger } = deps
  const stopping = new AbortController()
  let asked: 'Redis' | 'Kafka' = 'Redis'
  let topicsChecked = false
  let running = false

  const attempt = async () => {
    asked = 'Redis'
    await connectRedis(redis)
    await redisCheck.check()
    await store.ping()
    asked = 'Kafka'
    await Promise.all([admin.connect(), outputs.connect(), consumer.connect()])
    try {
      await topicWatch.start()
    } finally {
      topicsChecked = true
    }
    // Measure the lag before the group is joined, because it may be impossible to join the group.
    void deps.measure().catch(() => undefined)
    await topicWatch.checkRights()
    await store.announce(options.instance)
    await consumer.start()
  }
  const diagnosisOf = (error: Error): Diagnosis =>
    asked === 'Kafka' ? diagnose(error, 'connect and check its topics') : redisCheck.diagnose(error)
  const connect = async () => {
    const done = await retryWithBackoff(attempt, {
      signal: stopping.signal,
      backoff: () => (obstacles.blocked ? BLOCKED_BACKOFF : options.backoff),
      onFailure: (error) => {
        if (error instanceof TopicError || error instanceof UnsafeRedisError) throw error
        obstacles.report('start', diagnosisOf(error))
      },
    })
    if (!done) return
    obstacles.report('start', undefined)
    running = true
    logger.info({ event: 'ready', topic: options.topic, group: options.groupId }, 'ready')
  }

  return {
    get phase() {
      if (running) return 'running'
      return stopping.signal.aborted ? 'stopping' : 'starting'
    },
    get topicsChecked() {
      return topicsChecked
    },
    run: async (openAdminPort) => {
      try {
        const address = await openAdminPort()
        logger.info({ event: 'listening', admin: address }, 'listening')
        await connect()
      } catch (error) {
        deps.lifecycle.fail(error as Error)
      }
    },
    stop: () => {
      running = false
      stopping.abort()
    },
  }
}
