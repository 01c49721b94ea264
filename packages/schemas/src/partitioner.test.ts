import { createRequire } from 'node:module'
import { anyText } from '@customer-stream/testing/any-text'
import fc from 'fast-check'
import kafkajs from 'kafkajs'
import { expect, it } from 'vitest'
import { formerPartitionsOf, murmur2, partitionOf, partitionOfKey } from './partitioner.ts'

// The values are from UtilsTest.java of Kafka.
it.each([
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
])("murmur2 returns the hash of Java's client for %s", (key, hash) => {
  expect(murmur2(Buffer.from(key))).toBe(hash)
})

it('murmur2 returns the same hash as kafkajs for any key', () => {
  const theirs = createRequire(import.meta.url)('kafkajs/src/producer/partitioners/default/murmur2') as (
    key: Buffer,
  ) => number
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      expect(murmur2(bytes)).toBe(theirs(Buffer.from(bytes)))
    }),
  )
})

it("partitionOfKey returns the same partition as kafkajs' Java-compatible partitioner", () => {
  const theirs = kafkajs.Partitioners.JavaCompatiblePartitioner()
  fc.assert(
    fc.property(fc.uint8Array(), fc.integer({ min: 1, max: 1000 }), (bytes, count) => {
      const partitionMetadata = Array.from({ length: count }, (_, partitionId) => ({
        partitionId,
        partitionErrorCode: 0,
        leader: 1,
        replicas: [1],
        isr: [1],
      }))
      const message = { key: Buffer.from(bytes), value: null }
      expect(partitionOfKey(bytes, count)).toBe(theirs({ topic: 't', partitionMetadata, message }))
    }),
  )
})

it('the UTF-8 bytes of the uuid select the partition of a customer', () => {
  fc.assert(
    fc.property(anyText(), fc.integer({ min: 1, max: 1000 }), (customerUuid, count) => {
      expect(partitionOf(customerUuid, count)).toBe(partitionOfKey(Buffer.from(customerUuid), count))
    }),
  )
})

it.each([0, -1, 1.5, Number.NaN])('partitionOf refuses a topic of %s partitions', (count) => {
  expect(() => partitionOf('c', count)).toThrow(RangeError)
})

it('the former partitions of a customer are its partitions in every topic with fewer partitions', () => {
  for (let i = 0; i < 200; i++) {
    const id = `customer-${i}`
    const former = formerPartitionsOf(id, 12)
    for (let count = 1; count < 12; count++) expect([...former, partitionOf(id, 12)]).toContain(partitionOf(id, count))
    expect(former).not.toContain(partitionOf(id, 12))
  }
  expect(formerPartitionsOf('ada', 1).size).toBe(0)
})
