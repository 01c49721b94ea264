import type { Kafka } from 'kafkajs'
import { expect, it } from 'vitest'
import { openCustomerTable, subscribeToCustomers, subscribeToDeliveries } from './index.ts'

const unreachable = () => expect.unreachable('an invalid option must be refused before Kafka is asked')
const kafka = { consumer: unreachable, admin: unreachable } as unknown as Kafka
const store = { position: () => null, versions: () => new Map(), commit: () => true }
const customers = { kafka, groupId: 'g', onCustomer: () => {} }

// A timer of Node with one of these times fires immediately.
it.each([Number.POSITIVE_INFINITY, 2 ** 31, 0, -1, Number.NaN, '5' as never])(
  'the subscriptions and the table refuse a timeout of %s ms',
  async (ms) => {
    const refused = (name: string) => `${name} is ${ms}, but must be from 1 to 2147483647`
    await expect(subscribeToCustomers({ ...customers, handlerTimeoutMs: ms })).rejects.toThrow(
      new RangeError(refused('handlerTimeoutMs')),
    )
    await expect(subscribeToDeliveries({ kafka, groupId: 'g', store, storeTimeoutMs: ms })).rejects.toThrow(
      new RangeError(refused('storeTimeoutMs')),
    )
    expect(() => openCustomerTable({ kafka, checkIntervalMs: ms })).toThrow(new RangeError(refused('checkIntervalMs')))
  },
)

it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])(
  'the subscriptions refuse a maximum count of %s',
  async (count) => {
    await expect(subscribeToCustomers({ ...customers, concurrency: count })).rejects.toThrow(
      new RangeError(`concurrency is ${count}, not a positive integer`),
    )
    await expect(subscribeToDeliveries({ kafka, groupId: 'g', store, maxRecords: count })).rejects.toThrow(
      new RangeError(`maxRecords is ${count}, not a positive integer`),
    )
  },
)
