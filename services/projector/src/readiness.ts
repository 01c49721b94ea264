/**
 * Readiness of the projector: ready means that acknowledged events are being applied. Each failed
 * check says what to do.
 */
import { type Diagnosis, type Obstacles, type ReadinessCheck, readinessCheck } from '@customer-stream/runtime'
import type { PartitionConsumer } from '@customer-stream/runtime/kafka'
import type { Progress } from './progress.ts'
import type { Projection } from './projection.ts'

export interface ReadinessDependencies {
  /** Returns the reason why Kafka does not answer. Undefined if Kafka answers. */
  readonly kafkaOutage: () => Promise<Diagnosis | undefined>
  /** Returns the reason why Redis does not answer. Undefined if Redis answers. */
  readonly redisOutage: () => Promise<Diagnosis | undefined>
  readonly consumer: Pick<PartitionConsumer, 'joined' | 'problem'>
  readonly projection: Pick<Projection, 'waitingFor'>
  readonly progress: Pick<Progress, 'standstill'>
  /** Obstacles that a person must remove, e.g. a missing right. */
  readonly obstacles: Pick<Obstacles, 'blocked'>
  readonly groupId: string
}

/** Replaces a repeated detail with a reference to the first check that has it. */
const withoutRepeats = (checks: readonly ReadinessCheck[]): ReadinessCheck[] =>
  checks.map((check) => {
    const first = checks.find(({ detail }) => detail === check.detail)
    return check.detail === undefined || first === undefined || first === check
      ? check
      : { ...check, detail: `the same as ${first.name}` }
  })

export const createReadiness =
  ({ kafkaOutage, redisOutage, consumer, projection, progress, obstacles, groupId }: ReadinessDependencies) =>
  async (): Promise<ReadinessCheck[]> => {
    const [kafka, redis] = await Promise.all([kafkaOutage(), redisOutage()])
    const { waitingFor } = projection
    // A member without partitions is on standby and counts as ready.
    const notJoined = consumer.joined
      ? undefined
      : (consumer.problem?.message ?? `joining the consumer group ${groupId}; nothing is applied until then`)
    // During an outage of Kafka the known watermarks are old, so they do not show the records that
    // wait now.
    const standstill = kafka ? undefined : progress.standstill
    return withoutRepeats([
      readinessCheck('kafka', kafka?.message),
      readinessCheck('redis', redis?.message),
      readinessCheck('blocked', obstacles.blocked?.message),
      readinessCheck('group', notJoined),
      readinessCheck('projection', waitingFor === undefined ? standstill : `waiting for ${waitingFor}`),
    ])
  }
