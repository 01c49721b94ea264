import { cpus, release, totalmem, type } from 'node:os'
import { createLogger, loadSettings } from '@customer-stream/runtime'
import { createRedis, redisSettings } from '@customer-stream/runtime/redis'
import { KAFKA_VERSION } from '../../packages/testing/src/brokers/kafka-settings.ts'
import type { Bench } from '../questions/question.ts'

/** Machine and software of the measurement, for results.json and the page. */
export interface Machine {
  readonly date: string
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  readonly node: string
  readonly kafka: string
  readonly redis: string
  /** Kind of the brokers: processes on this machine, containers, or given addresses. */
  readonly brokers: Bench['brokers']['kind']
}

const redisVersion = async (url: string): Promise<string> => {
  const redis = createRedis(loadSettings(redisSettings, { REDIS_URL: url }), createLogger('bench', 'silent'))
  try {
    await redis.connect()
    return /^redis_version:(\S+)/m.exec(await redis.info('server'))?.[1] ?? 'unknown'
  } finally {
    redis.disconnect()
  }
}

export const describeMachine = async ({
  kind,
  redisUrl,
}: Pick<Bench['brokers'], 'kind' | 'redisUrl'>): Promise<Machine> => {
  const cores = cpus()
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: cores[0]?.model ?? 'unknown',
    cores: cores.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: `${type()} ${release()}`,
    node: process.versions.node,
    // Use the pinned release of the brokers that we start, because kafkajs cannot ask a broker for
    // its release.
    kafka: kind === 'given' ? 'unknown' : KAFKA_VERSION,
    redis: await redisVersion(redisUrl),
    brokers: kind,
  }
}
