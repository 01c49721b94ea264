import { createRequire } from 'node:module'
import { describe, expect, it, vi } from 'vitest'
import './client.ts'

interface Broker {
  isConnected(): boolean
  connect(): Promise<void>
  disconnect(): Promise<void>
  metadata(topics: string[]): Promise<object>
}
interface Pool {
  seedBroker?: Broker
  metadataExpireAt: number | null
  createBroker: () => Broker
  findConnectedBroker: () => Promise<Broker>
  connect(): Promise<void>
  refreshMetadata(topics: string[]): Promise<void>
  refreshMetadataIfNecessary(topics: string[]): Promise<void>
}

const BrokerPool = createRequire(import.meta.url)('kafkajs/src/cluster/brokerPool') as new (options: object) => Pool
const logger = { namespace: () => logger, debug() {}, info() {}, warn() {}, error() {} }
const metadata = { brokers: [], topicMetadata: [{ topic: 't', partitionMetadata: [] }] }

describe('the bootstrap broker', () => {
  /** A client of these bootstrap brokers. Each takes connections; the first answers no request, and loses its connection then. */
  const setUp = () => {
    const asked: number[] = []
    let built = 0
    const pool = new BrokerPool({
      connectionPoolBuilder: { build: async () => ({}) },
      logger,
      metadataMaxAge: 1000,
      retry: { retries: 0 },
    })
    pool.createBroker = () => {
      const number = built++ % 3
      let connected = false
      return {
        connectionPool: {},
        isConnected: () => connected,
        connect: async () => {
          connected = true
        },
        disconnect: async () => {
          connected = false
          await new Promise(setImmediate)
        },
        metadata: async () => {
          asked.push(number)
          if (number > 0) return metadata
          await new Promise(setImmediate)
          connected = false
          throw Object.assign(new Error('no reply'), { name: 'KafkaJSRequestTimeoutError' })
        },
      } as Broker
    }
    return { pool, asked }
  }

  it('is replaced by the next one when it connects and does not answer, where kafkajs would ask it forever', async () => {
    const { pool, asked } = setUp()
    await pool.connect()
    await expect(pool.refreshMetadata(['t'])).rejects.toThrow('no reply')
    await pool.refreshMetadata(['t'])
    expect(asked).toEqual([0, 1])
  })

  it('is replaced once by refreshes that fail together', async () => {
    const { pool, asked } = setUp()
    await pool.connect()
    await Promise.allSettled([pool.refreshMetadata(['t']), pool.refreshMetadata(['t'])])
    await pool.refreshMetadata(['t'])
    expect(asked).toEqual([0, 0, 1])
  })
})

describe('metadata', () => {
  /** A pool that knows a topic, and whose broker answers when the test says so. */
  const setUp = async () => {
    const answers: ((error?: Error) => void)[] = []
    const pool = new BrokerPool({ connectionPoolBuilder: {}, logger, metadataMaxAge: 30_000, retry: { retries: 0 } })
    const ask = vi.fn(
      () => new Promise((resolve, reject) => answers.push((error) => (error === undefined ? resolve(metadata) : reject(error)))),
    )
    Object.assign(pool, {
      findConnectedBroker: async () => ({ metadata: ask }),
      seedBroker: { connectionPool: {}, isConnected: () => true },
    })
    const first = pool.refreshMetadataIfNecessary(['t'])
    while (answers.length === 0) await new Promise(setImmediate)
    answers.shift()?.()
    await first
    ask.mockClear()
    return { pool, ask, answers }
  }
  const untilAsked = async (answers: readonly unknown[]) => {
    while (answers.length === 0) await new Promise(setImmediate)
  }

  it('that is old delays no request, and is refreshed once in the background', async () => {
    const { pool, ask, answers } = await setUp()
    pool.metadataExpireAt = 0
    await pool.refreshMetadataIfNecessary(['t'])
    await pool.refreshMetadataIfNecessary(['t'])
    await untilAsked(answers)
    expect(ask).toHaveBeenCalledTimes(1)
    answers.shift()?.()
    while (Number(pool.metadataExpireAt) < Date.now()) await new Promise(setImmediate)
    expect(ask).toHaveBeenCalledTimes(1)
  })

  it('that is old is refreshed again after a refresh in the background has failed', async () => {
    const { pool, answers } = await setUp()
    pool.metadataExpireAt = 0
    await pool.refreshMetadataIfNecessary(['t'])
    await untilAsked(answers)
    answers.shift()?.(new Error('no reply'))
    while (answers.length === 0) await pool.refreshMetadataIfNecessary(['t']).then(() => new Promise(setImmediate))
    answers.shift()?.()
  })

  it.each([
    ['of a topic that is not known', ['t', 'unknown'], 0],
    ['that is known to be wrong', ['t'], null],
  ])('%s is waited for', async (_, topics, expireAt) => {
    const { pool, answers } = await setUp()
    pool.metadataExpireAt = expireAt
    let isDone = false
    const refreshed = pool.refreshMetadataIfNecessary(topics).then(() => {
      isDone = true
    })
    await untilAsked(answers)
    expect(isDone).toBe(false)
    answers.shift()?.()
    await refreshed
  })
})
