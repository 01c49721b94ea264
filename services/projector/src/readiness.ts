/**
 * Readiness of the projector: ready means that acknowledged events are being applied. Each failed
 * check says what to do.
 */
import { type Diagnosis, type Obstacles, type ReadinessCheck, readinessCheck } from '@customer-stream/runtime'
import type { PartitionConsumer } from '@customer-stream/runtime/kafka'
import type { Progress } from './progress.ts'
import type { Projection } from './projection.ts'
import type { RedisCheck } from './redis-check.ts'
import type { Startup } from './startup.ts'

export interface ReadinessDependencies {
  readonly startup: Pick<Startup, 'phase'>
  /** Returns the reason why Kafka does not answer. Undefined if Kafka answers. */
  readonly kafkaOutage: () => Promise<Diagnosis | undefined>
  /** Returns a sentence about a quota that delays this process. Undefined if there is none. */
  readonly quotaDelay: () => string | undefined
  readonly redisCheck: Pick<RedisCheck, 'outage'>
  readonly consumer: Pick<PartitionConsumer, 'joined' | 'problem'>
  readonly projection: Pick<Projection, 'waitingFor' | 'fillProgress'>
  readonly progress: Pick<Progress, 'standstill'>
  /** Obstacles that a person must remove, e.g. a missing right, and outages. */
  readonly obstacles: Pick<Obstacles, 'blocked' | 'worst'>
  readonly groupId: string
}

const NO_ANSWER_YET = 'Kafka or Redis has not answered yet. If this lasts, check KAFKA_BROKERS and REDIS_URL.'

const notStarted = (detail: string): ReadinessCheck[] => [{ name: 'start', ready: false, detail }]

/**
 * If several checks have the same detail, replaces the repeats with a reference to the first check.
 */
const withoutRepeats = (checks: readonly ReadinessCheck[]): ReadinessCheck[] =>
  checks.map((check) => {
    const first = checks.find(({ detail }) => detail === check.detail)
    return check.detail === undefined || first === undefined || first === check
      ? check
      : { ...check, detail: `the same as ${first.name}` }
  })

export const createReadiness = (deps: ReadinessDependencies): (() => Promise<ReadinessCheck[]>) => {
  const { startup, kafkaOutage, quotaDelay, redisCheck, consumer, projection, progress, obstacles, groupId } = deps
  return async () => {
    if (startup.phase === 'stopping') return notStarted('stopping')
    if (startup.phase === 'starting') return notStarted(obstacles.worst?.message ?? NO_ANSWER_YET)
    const [kafka, redis] = await Promise.all([kafkaOutage(), redisCheck.outage()])
    const { waitingFor, fillProgress } = projection
    // A member without partitions is on standby and counts as ready.
    const notJoined = consumer.joined
      ? undefined
      : (consumer.problem?.message ?? `joining the consumer group ${groupId}; no event is applied before the join`)
    // During an outage of Kafka the known watermarks are old, so they cannot show a standstill.
    const standstill = kafka ? undefined : progress.standstill
    // The projector is ready while Redis is being filled, because new events are applied.
    const rebuild = fillProgress === undefined ? [] : [{ name: 'rebuild', ready: true, detail: fillProgress }]
    return withoutRepeats([
      ...rebuild,
      // A projector that a quota delays is ready, because it applies events.
      { ...readinessCheck('kafka', kafka?.message ?? quotaDelay()), ready: kafka === undefined },
      readinessCheck('redis', redis?.message),
      readinessCheck('blocked', obstacles.blocked?.message),
      readinessCheck('group', notJoined),
      readinessCheck('projection', waitingFor === undefined ? standstill : `waiting for ${waitingFor}`),
    ])
  }
}
