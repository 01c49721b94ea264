import { partitionOf } from '@customer-stream/schemas'
import { expect, it } from 'vitest'
import { createFindFormer } from './former-partitions.ts'

const ids = Array.from({ length: 50 }, (_, i) => `customer-${i}`)
/** Customers whose partition was 0 until the topic got a second partition. */
const moved = ids.filter((id) => partitionOf(id, 2) === 1)
const stayed = ids.filter((id) => partitionOf(id, 2) === 0)

/**
 * Creates a topic of two partitions. Partition 0 has records with these keys. The time of a record
 * is its offset.
 */
const setUp = (keys: readonly (string | null)[]) => {
  let reads = 0
  const find = createFindFormer({
    read: async (_, offset, until) => {
      reads += 1
      const end = Math.min(until, offset + 2)
      const records = keys.slice(offset, end).map((key, i) => ({
        ...{ offset: `${offset + i}`, timestamp: '0', value: null, headers: {} },
        key: key === null ? null : Buffer.from(key),
      }))
      return { records, nextOffset: String(end) }
    },
    offsetAt: async (_, timestampMs) => Math.min(timestampMs, keys.length),
  })
  const end = `${keys.length}`
  const mark = { low: '0', stable: end, high: end }
  const formerOf = (customerUuid: string, since: number, marks = new Map([[0, mark]])) =>
    find({ customerUuid, since, count: 2, marks })
  return { formerOf, reads: () => reads }
}

it('after partitions were added, the former partition of a customer may have its events', async () => {
  const keys = [null, null, ...moved.slice(0, 3), ...stayed.slice(0, 3)]
  const { formerOf } = setUp(keys)
  const [customer = '', other = ''] = [moved[9], stayed[9]]
  expect([await formerOf(customer, 0), await formerOf(customer, 3)]).toEqual(['since', 'since'])
  expect([await formerOf(customer, 5), await formerOf(customer, 99)]).toEqual(['earlier', 'earlier'])
  expect(await formerOf(other, 0)).toBe('none')
  expect(await formerOf(customer, 0, new Map())).toBe('since')
})

it('if the leader returns no records, the partition may have events, and is checked again later', async () => {
  const [customer = ''] = moved
  let isSilent = true
  const find = createFindFormer({
    read: async (_, offset, until) => ({ records: [], nextOffset: `${isSilent ? offset : until}` }),
    offsetAt: async () => 0,
  })
  const query = {
    customerUuid: customer,
    since: 0,
    count: 2,
    marks: new Map([[0, { low: '0', stable: '5', high: '5' }]]),
  }
  expect(await find(query)).toBe('since')
  isSilent = false
  expect(await find(query)).toBe('none')
})

it('if no partitions were added, each partition is checked only once', async () => {
  const { formerOf, reads } = setUp(stayed)
  for (const customer of moved) expect(await formerOf(customer, 0)).toBe('none')
  expect(reads()).toBe(1)
})
