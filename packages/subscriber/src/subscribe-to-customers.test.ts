import { writeState } from '@customer-stream/schemas'
import type { ConsumerRunConfig, EachBatchPayload, Kafka } from 'kafkajs'
import { expect, it, onTestFinished, vi } from 'vitest'
import { stateOf } from './fixtures/states.ts'
import { HEARTBEAT_INTERVAL_MS } from './heartbeats.ts'
import { type CustomerSubscription, subscribeToCustomers } from './index.ts'

// Kafka is fake here: the tests decide when the group rebalances. The int test uses a real Kafka.

const batchOf = (customers: readonly string[]) => ({
  topic: 't',
  partition: 0,
  messages: customers.map((customerUuid, i) => ({
    key: Buffer.from(customerUuid),
    value: Buffer.from(writeState(stateOf(customerUuid, 1))),
    offset: String(i),
    timestamp: '1000',
    attributes: 0,
    headers: {},
  })),
})

/** Starts a subscription. `handle` then hands over a batch, as kafkajs does. */
const start = async (options: Pick<CustomerSubscription, 'onCustomer' | 'signal'>) => {
  const running = Promise.withResolvers<ConsumerRunConfig>()
  const consumer = {
    events: {},
    on: () => {},
    connect: async () => {},
    subscribe: async () => {},
    run: async (config: ConsumerRunConfig) => running.resolve(config),
    disconnect: async () => {},
  }
  const kafka = { consumer: () => consumer } as unknown as Kafka
  const ended = subscribeToCustomers({ kafka, groupId: 'g', topic: 't', ...options })
  const { eachBatch } = await running.promise
  return {
    ended,
    handle: async (customers: readonly string[], payload: Partial<EachBatchPayload> = {}) => {
      const resolved: string[] = []
      await eachBatch?.({
        batch: batchOf(customers),
        resolveOffset: (offset: string) => resolved.push(offset),
        heartbeat: async () => {},
        commitOffsetsIfNecessary: async () => {},
        uncommittedOffsets: () => ({ topics: [] }),
        isRunning: () => true,
        isStale: () => false,
        ...payload,
      } as unknown as EachBatchPayload)
      return resolved
    },
  }
}

it('a batch ends after the running handler if the group rebalances', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const seen: string[] = []
  const { handle } = await start({
    onCustomer: async ({ customerUuid }) => {
      seen.push(customerUuid)
      if (customerUuid === 'b') await vi.advanceTimersByTimeAsync(HEARTBEAT_INTERVAL_MS)
    },
  })
  const heartbeat = () => Promise.reject(Object.assign(new Error('rebalance'), { type: 'REBALANCE_IN_PROGRESS' }))
  expect(await handle(['a', 'b', 'c'], { heartbeat })).toEqual(['0', '1'])
  expect(seen).toEqual(['a', 'b'])
})

it('a batch ends after the running handler if the signal aborts', async () => {
  const stopping = new AbortController()
  const seen: string[] = []
  const { handle, ended } = await start({
    signal: stopping.signal,
    onCustomer: ({ customerUuid }) => {
      seen.push(customerUuid)
      if (customerUuid === 'b') stopping.abort()
    },
  })
  expect(await handle(['a', 'b', 'c'])).toEqual(['0', '1'])
  expect(seen).toEqual(['a', 'b'])
  await ended
})

it('a failed commit makes kafkajs join the group again, unless the subscription ends', async () => {
  const failed = new Error('commit failed')
  const stopping = new AbortController()
  const commitOffsetsIfNecessary = () => Promise.reject(failed)
  const { handle, ended } = await start({ signal: stopping.signal, onCustomer: () => {} })
  await expect(handle(['a'], { commitOffsetsIfNecessary })).rejects.toBe(failed)
  stopping.abort()
  expect(await handle(['a'], { commitOffsetsIfNecessary })).toEqual([])
  await ended
})

it.each([undefined, 'text', Symbol('s'), Object.create(null), { toString: 5 }])(
  'if a handler throws %o instead of an error, the subscription ends',
  async (thrown) => {
    const { handle, ended } = await start({
      onCustomer: () => {
        throw thrown
      },
    })
    const settled = expect(ended).rejects.toMatchObject({
      name: 'SubscriberError',
      message: expect.stringContaining('t/0 offset 0: onCustomer failed: '),
      cause: thrown,
    })
    expect(await handle(['a'])).toEqual([])
    await settled
  },
)

it('if Kafka does not know the topic, the subscription ends with advice', async () => {
  const consumer = {
    events: {},
    on: () => {},
    connect: async () => {},
    subscribe: async () => {
      const unknown = Object.assign(new Error('does not host'), { type: 'UNKNOWN_TOPIC_OR_PARTITION' })
      throw new Error('retries exceeded', { cause: unknown })
    },
    disconnect: async () => {},
  }
  const kafka = { consumer: () => consumer } as unknown as Kafka
  const ended = subscribeToCustomers({ kafka, groupId: 'g', topic: 't', onCustomer: () => {} })
  await expect(ended).rejects.toThrow('cannot read t: Kafka has no such topic. Check the name of the topic')
})
