/** Ready means that acknowledged events are being applied. Each check that fails says in one sentence what to do. */
import { type Diagnosis, type Obstacles, type ReadinessCheck, readinessCheck } from '@customer-stream/runtime'
import type { PartitionConsumer } from '@customer-stream/runtime/kafka'
import type { Projection } from './consumer.ts'
import type { Progress } from './progress.ts'

export interface ReadinessDependencies {
  /** Why Kafka does not answer; undefined if it does. */
  readonly kafkaOutage: () => Promise<Diagnosis | undefined>
  /** Why Redis does not answer; undefined if it does. */
  readonly redisOutage: () => Promise<Diagnosis | undefined>
  readonly consumer: Pick<PartitionConsumer, 'joined' | 'problem'>
  readonly projection: Pick<Projection, 'waitingFor'>
  readonly progress: Pick<Progress, 'standstill'>
  /** Obstacles that a person must remove, e.g. a missing right. */
  readonly obstacles: Pick<Obstacles, 'blocked'>
  readonly groupId: string
}

/** Several checks may fail for one reason, which need not be read twice. */
const withoutRepeats = (checks: readonly ReadinessCheck[]): ReadinessCheck[] =>
  checks.map((check) => {
    const first = checks.find(({ detail }) => detail === check.detail)
    return check.detail === undefined || first === undefined || first === check ? check : { ...check, detail: `the same as ${first.name}` }
  })

export const createReadiness =
  ({ kafkaOutage, redisOutage, consumer, projection, progress, obstacles, groupId }: ReadinessDependencies) =>
  async (): Promise<ReadinessCheck[]> => {
    const [kafka, redis] = await Promise.all([kafkaOutage(), redisOutage()])
    const { waitingFor } = projection
    // A member without partitions stands by and is ready.
    const notJoined = consumer.joined
      ? undefined
      : (consumer.problem?.message ?? `joining the consumer group ${groupId}; nothing is applied until then`)
    // Watermarks from before an outage of Kafka say nothing of the records that wait now.
    const standstill = kafka ? undefined : progress.standstill
    return withoutRepeats([
      readinessCheck('kafka', kafka?.message),
      readinessCheck('redis', redis?.message),
      readinessCheck('blocked', obstacles.blocked?.message),
      readinessCheck('group', notJoined),
      readinessCheck('projection', waitingFor === undefined ? standstill : `waiting for ${waitingFor}`),
    ])
  }
