import type { PlacedRecord, Version } from '@customer-stream/schemas'
import { readErasureRecord } from '@customer-stream/schemas'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type DeliveryStore, storeChunk } from './delivery-store.ts'
import { bodyOf } from './fixtures/raw-topic.ts'

/**
 * Creates a store of raw events. It executes erasures in the way that docs/subscribing.md
 * describes.
 */
const createStore = () => {
  const newest = new Map<string, Version>()
  /** Greatest timestamp that is erased, by customer. */
  const erased = new Map<string, number>()
  let position = '0'
  const isErased = (customerUuid: string, { timestamp }: Version) => timestamp <= (erased.get(customerUuid) ?? 0)
  const store: DeliveryStore = {
    position: () => position,
    versions: (uuids) => new Map([...newest].filter(([uuid]) => uuids.includes(uuid))),
    commit: ({ from, next, events }) => {
      if (position !== from) return false
      for (const { customerUuid, version } of events)
        if (!isErased(customerUuid, version)) newest.set(customerUuid, version)
      position = next
      return true
    },
  }
  const erase = (record: Parameters<typeof readErasureRecord>[0]) => {
    const read = readErasureRecord(record)
    if (!read.ok) throw new Error(read.reason)
    const { customerUuid, erasure } = read.value
    erased.set(customerUuid, erasure.scope === 'forever' ? Number.POSITIVE_INFINITY : erasure.erasedAt)
    const version = newest.get(customerUuid)
    if (version && isErased(customerUuid, version)) newest.delete(customerUuid)
  }
  return { newest, store, erase }
}

const customers = fc.constantFrom('a', 'b', 'c')
const timestamps = fc.integer({ min: 1, max: 9 })
const deliveries = fc.array(fc.tuple(customers, timestamps), { maxLength: 20 })
const erasures = fc.uniqueArray(fc.tuple(customers, timestamps, fc.constantFrom('forever', 'until-now')), {
  selector: ([customerUuid]) => customerUuid,
})

it('a raw subscriber keeps the newest event that no erasure covers, for any order of events and erasures', () =>
  fc.assert(
    fc.asyncProperty(deliveries, erasures, fc.infiniteStream(fc.boolean()), async (sent, asked, turns) => {
      const { newest, store, erase } = createStore()
      const raw = sent.map(
        ([key, timestamp], offset): PlacedRecord => ({
          topic: 'raw',
          partition: 0,
          offset: String(offset),
          timestamp: '1',
          key: Buffer.from(key),
          value: Buffer.from(bodyOf(key, timestamp)),
        }),
      )
      const pending = asked.map(([key, erasedAt, scope]) => ({
        key: Buffer.from(key),
        value: Buffer.from(JSON.stringify({ erasedAt, scope, reason: 'r', requestedBy: 'r' })),
      }))
      while (raw.length + pending.length > 0) {
        const [record] = raw
        if (record && (pending.length === 0 || turns.next().value)) {
          await storeChunk([record], record.offset, { store })
          raw.shift()
        } else {
          const erasure = pending.shift()
          if (erasure) erase(erasure)
        }
      }
      const expected = new Map<string, number>()
      for (const [customerUuid, timestamp] of sent) {
        const erasure = asked.find(([uuid]) => uuid === customerUuid)
        const isCovered = erasure && (erasure[2] === 'forever' || timestamp <= erasure[1])
        if (!isCovered) expected.set(customerUuid, Math.max(timestamp, expected.get(customerUuid) ?? 0))
      }
      expect(new Map([...newest].map(([uuid, { timestamp }]) => [uuid, timestamp]))).toEqual(expected)
    }),
  ))
