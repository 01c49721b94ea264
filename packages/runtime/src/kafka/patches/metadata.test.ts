import { createRequire } from 'node:module'
import { describe, expect, it, vi } from 'vitest'
import '../client.ts'

interface Broker {
  isConnected(): boolean
  connect(): Promise<void>
  disconnect(): Promise<void>
  metadata(topics: string[]): Promise<object>
}
interface Pool {
  seedBroker?: Broker
  metadataExpireAt: number | null
  readonly brokers: Readonly<Record<number, Broker>>
  createBroker: (options: object) => Broker
  removeBroker(address: { host: string; port: number }): void
  findConnectedBroker: () => Promise<Broker>
  connect(): Promise<void>
  refreshMetadata(topics: string[]): Promise<void>
  refreshMetadataIfNecessary(topics: string[]): Promise<void>
}

const BrokerPool = createRequire(import.meta.url)('kafkajs/src/cluster/brokerPool') as new (options: object) => Pool
const logger = { namespace: () => logger, debug() {}, info() {}, warn() {}, error() {} }
const metadata = { brokers: [], topicMetadata: [{ topic: 't', partitionMetadata: [] }] }

describe('the bootstrap broker', () => {
  /**
   * Creates a client of fake bootstrap brokers. All brokers accept connections. The first broker
   * answers no request, and then loses its connection.
   */
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

  it('a bootstrap broker that accepts the connection but does not answer is replaced', async () => {
    const { pool, asked } = setUp()
    await pool.connect()
    await expect(pool.refreshMetadata(['t'])).rejects.toThrow('no reply')
    await pool.refreshMetadata(['t'])
    expect(asked).toEqual([0, 1])
  })

  it('a bootstrap broker is replaced once if several refreshes fail together', async () => {
    const { pool, asked } = setUp()
    await pool.connect()
    await Promise.allSettled([pool.refreshMetadata(['t']), pool.refreshMetadata(['t'])])
    await pool.refreshMetadata(['t'])
    expect(asked).toEqual([0, 0, 1])
  })
})

it('a refresh gives each broker its own address, even if the bootstrap broker changes meanwhile', async () => {
  const brokers = [1, 2].map((nodeId) => ({ nodeId, host: 'h', port: nodeId }))
  const answers: (() => void)[] = []
  const ask = () => new Promise((resolve) => answers.push(() => resolve({ ...metadata, brokers })))
  const untilAsked = async () => {
    while (answers.length === 0) await new Promise(setImmediate)
  }
  const pool = new BrokerPool({
    connectionPoolBuilder: { build: async (address = { host: 'h', port: 1 }) => address },
    logger,
    metadataMaxAge: 30_000,
    retry: { retries: 0 },
  })
  pool.createBroker = (options) => ({
    ...options,
    isConnected: () => true,
    connect: async () => {},
    disconnect: async () => {},
    metadata: ask as Broker['metadata'],
  })
  await pool.connect()
  for (const meanwhile of [() => {}, () => pool.removeBroker({ host: 'h', port: 1 })]) {
    const refreshed = pool.refreshMetadata(['t'])
    await untilAsked()
    meanwhile()
    answers.shift()?.()
    await refreshed
    expect(Object.entries(pool.brokers)).toMatchObject(
      [1, 2].map((id) => [String(id), { nodeId: id, connectionPool: { port: id } }]),
    )
  }
})

describe('metadata', () => {
  /**
   * Creates a pool that knows one topic. Each request waits until the test calls the function that
   * `answers.shift()` returns.
   */
  const setUp = async () => {
    const answers: ((error?: Error) => void)[] = []
    const pool = new BrokerPool({ connectionPoolBuilder: {}, logger, metadataMaxAge: 30_000, retry: { retries: 0 } })
    const ask = vi.fn(
      () =>
        new Promise((resolve, reject) =>
          answers.push((error) => (error === undefined ? resolve(metadata) : reject(error))),
        ),
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

  it('old metadata delays no request and is refreshed once in the background', async () => {
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

  it('old metadata is refreshed again after a failed background refresh', async () => {
    const { pool, answers } = await setUp()
    pool.metadataExpireAt = 0
    await pool.refreshMetadataIfNecessary(['t'])
    await untilAsked(answers)
    answers.shift()?.(new Error('no reply'))
    while (answers.length === 0) await pool.refreshMetadataIfNecessary(['t']).then(() => new Promise(setImmediate))
    answers.shift()?.()
  })

  it.each([
    ['of an unknown topic', ['t', 'unknown'], 0],
    ['that is no longer valid', ['t'], null],
  ])('a request waits for metadata %s', async (_, topics, expireAt) => {
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
