import { writeState } from '@customer-stream/schemas'
import type { ConsumerRunConfig, EachBatchPayload, Kafka } from 'kafkajs'
import { expect, it, onTestFinished } from 'vitest'
import { stateOf } from './fixtures/states.ts'
import { type CustomerTableOptions, openCustomerTable } from './index.ts'

// Kafka is fake here: the tests decide when the table joins its group. The int test uses a real
// Kafka.

type Listener = (event: { readonly payload: object }) => void

const start = async (options: Pick<CustomerTableOptions, 'filter'> = {}) => {
  const running = Promise.withResolvers<ConsumerRunConfig>()
  const listeners = new Map<string, Listener>()
  const consumer = {
    events: { CRASH: 'crash', GROUP_JOIN: 'join', END_BATCH_PROCESS: 'end' },
    on: (name: string, listener: Listener) => void listeners.set(name, listener),
    connect: async () => {},
    subscribe: async () => {},
    run: async (config: ConsumerRunConfig) => running.resolve(config),
    seek: () => {},
    disconnect: async () => {},
  }
  const admin = {
    connect: async () => {},
    fetchTopicOffsets: async () => [{ partition: 0, low: '0', high: '0' }],
    disconnect: async () => {},
  }
  const table = openCustomerTable({
    kafka: { consumer: () => consumer, admin: () => admin } as unknown as Kafka,
    topic: 't',
    ...options,
  })
  onTestFinished(() => table.close().catch(() => undefined))
  const { eachBatch } = await running.promise
  return {
    table,
    join: () => listeners.get('join')?.({ payload: { memberAssignment: { t: [0] } } }),
    /** Hands over a batch. A text of `-` is a tombstone of the customer `a`. */
    handle: async (first: number, customers: readonly string[]) => {
      const messages = customers.map((name, i) => ({
        key: Buffer.from(name === '-' ? 'a' : name),
        value: name === '-' ? null : Buffer.from(writeState(stateOf(name, 1))),
        offset: String(first + i),
      }))
      const batch = { topic: 't', partition: 0, messages }
      await eachBatch?.({ batch, resolveOffset: () => {} } as unknown as EachBatchPayload)
      listeners.get('end')?.({ payload: { partition: 0, lastOffset: String(first + customers.length - 1) } })
    },
  }
}
const namesOf = (table: Iterable<{ readonly customerUuid: string }>) =>
  [...table].map(({ customerUuid }) => customerUuid)

it.each([0, 2])(
  'after a table has joined its group again at offset %i, it accepts a batch that kafkajs delivers twice',
  async (joinedAt) => {
    const { table, join, handle } = await start()
    join()
    if (joinedAt > 0) await handle(0, ['a', 'b'])
    join()
    // kafkajs fetched this batch before it joined the group again.
    await handle(joinedAt, ['a', 'b', 'c', '-'].slice(joinedAt))
    await handle(joinedAt, ['a', 'b', 'c'].slice(joinedAt))
    await handle(3, ['-', 'd'])
    expect(namesOf(table)).toEqual(['b', 'c', 'd'])
    await table.close()
  },
)

it('after a table has joined its group again, a record before its position ends the table', async () => {
  const { table, join, handle } = await start()
  join()
  await handle(0, ['a', 'b'])
  join()
  await handle(2, ['c'])
  const closed = expect(table.closed).rejects.toThrow('t/0 begins again at offset 1')
  await handle(1, ['x'])
  await closed
})

it('if a filter throws, the table ends, and the error names the record', async () => {
  const filter = () => {
    throw new Error('no dealer')
  }
  const { table, join, handle } = await start({ filter })
  join()
  const closed = expect(table.closed).rejects.toThrow('t/0 offset 0: filter failed: no dealer')
  await handle(0, ['a'])
  await closed
})
