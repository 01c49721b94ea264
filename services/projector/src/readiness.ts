/** Ready means that acknowledged events are being applied. Each check that fails says in one sentence what to do. */
import { type Obstacles, type ReadinessCheck, readinessOf } from '@customer-stream/runtime'
import type { PartitionConsumer } from '@customer-stream/runtime/kafka'
import type { Projection } from './consumer.ts'
import type { Progress } from './progress.ts'

export interface ReadinessDependencies {
  /** Rejects if Kafka does not answer. */
  readonly askKafka: () => Promise<unknown>
  /** Rejects if Redis does not answer. */
  readonly askRedis: () => Promise<unknown>
  readonly consumer: Pick<PartitionConsumer, 'joined' | 'problem'>
  readonly projection: Pick<Projection, 'waitingFor'>
  readonly progress: Pick<Progress, 'standstill'>
  /** Obstacles that a person must remove, e.g. a missing right. */
  readonly obstacles: Pick<Obstacles, 'blocked'>
  readonly groupId: string
  readonly timeoutMs: number
}

const check = (name: string, problem: string | undefined): ReadinessCheck =>
  problem === undefined ? { name, ready: true } : { name, ready: false, detail: problem }

export const createReadiness =
  ({ askKafka, askRedis, consumer, projection, progress, obstacles, groupId, timeoutMs }: ReadinessDependencies) =>
  async (): Promise<ReadinessCheck[]> => {
    const { waitingFor } = projection
    // A member without partitions stands by and is ready.
    const notJoined = consumer.joined
      ? undefined
      : (consumer.problem?.message ?? `joining the consumer group ${groupId}; nothing is applied until then`)
    return [
      ...(await Promise.all([readinessOf('kafka', askKafka, timeoutMs), readinessOf('redis', askRedis, timeoutMs)])),
      check('blocked', obstacles.blocked?.message),
      check('group', notJoined),
      check('projection', waitingFor === undefined ? progress.standstill : `waiting for ${waitingFor}`),
    ]
  }
