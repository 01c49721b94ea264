import { createRequire } from 'node:module'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { patchFetch } from './fetch.ts'
import { decodeFetch, encodeFetch, patchFetchCost } from './fetch-cost.ts'

const require = createRequire(import.meta.url)
const seeded = { seed: 11, numRuns: 100 }

interface Encoder {
  readonly buffer: Buffer
  writeInt16(value: number): Encoder
  writeInt32(value: number): Encoder
  writeInt64(value: string): Encoder
  writeString(value: string): Encoder
  writeBufferInternal(bytes: Buffer): void
}
const Encoder = require('kafkajs/src/protocol/encoder') as new () => Encoder
const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0') as {
  RecordBatch(options: object): Promise<Encoder>
}
const Record = require('kafkajs/src/protocol/recordBatch/record/v0') as (options: object) => object

const offset = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }).map(String)
const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })

it('the patch encodes a fetch to the same bytes as kafkajs', async () => {
  const request = require('kafkajs/src/protocol/requests/fetch/v11/request') as (options: object) => {
    encode(): Promise<Encoder>
  }
  const partition = fc.record({ partition: int32, fetchOffset: offset, maxBytes: int32 })
  const topic = fc.record({ topic: fc.string(), partitions: fc.array(partition, { maxLength: 30 }) })
  const options = fc.record({
    maxWaitTime: int32,
    minBytes: int32,
    maxBytes: int32,
    rackId: fc.string(),
    isolationLevel: fc.constantFrom(0, 1),
    replicaId: int32,
    topics: fc.array(topic, { maxLength: 2 }),
  })
  await fc.assert(
    fc.asyncProperty(options, async (given) => {
      const ours = encodeFetch(given) as unknown as Encoder
      expect(ours.buffer.equals((await request(given).encode()).buffer)).toBe(true)
    }),
    seeded,
  )
})

const batchOf = async (records: number): Promise<Buffer> => {
  const made = Array.from({ length: records }, (_, i) =>
    Record({ offsetDelta: i, timestampDelta: 0, key: Buffer.from('k'), value: Buffer.from(`value ${i}`), headers: {} }),
  )
  const options = { records: made, firstTimestamp: 1, maxTimestamp: 1, firstSequence: 0, producerId: '7' }
  return Buffer.from((await RecordBatch(options)).buffer)
}

it('the patch decodes a fetch as kafkajs does, but leaves out partitions without records', async () => {
  patchFetch()
  const original = require('kafkajs/src/protocol/requests/fetch/v11/response') as { decode: typeof decodeFetch }
  const batches = await Promise.all([1, 3].map(batchOf))
  const partition = fc.record({
    partition: int32,
    errorCode: fc.constantFrom(0, 0, 0, 1, 6),
    high: offset,
    aborted: fc.option(fc.array(fc.record({ producerId: fc.constant('7'), firstOffset: offset }), { maxLength: 2 })),
    replica: fc.constantFrom(-1, -1, -1, 2),
    batches: fc.array(fc.constantFrom(...batches), { maxLength: 2 }),
    cutOff: fc.constantFrom(0, 0, 1, 30),
  })
  const topic = fc.record({ name: fc.string(), partitions: fc.array(partition, { maxLength: 12 }) })
  const encode = (topics: (typeof topic extends fc.Arbitrary<infer T> ? T : never)[]) => {
    const encoder = new Encoder().writeInt32(5).writeInt16(0).writeInt32(0).writeInt32(topics.length)
    for (const { name, partitions } of topics) {
      encoder.writeString(name).writeInt32(partitions.length)
      for (const each of partitions) {
        encoder.writeInt32(each.partition).writeInt16(each.errorCode)
        encoder.writeInt64(each.high).writeInt64('3').writeInt64('0')
        encoder.writeInt32(each.aborted?.length ?? -1)
        for (const { producerId, firstOffset } of each.aborted ?? [])
          encoder.writeInt64(producerId).writeInt64(firstOffset)
        const bytes = Buffer.concat(each.batches)
        const records = bytes.subarray(0, Math.max(0, bytes.length - each.cutOff))
        encoder.writeInt32(each.replica).writeInt32(records.length).writeBufferInternal(records)
      }
    }
    return Buffer.from(encoder.buffer)
  }
  await fc.assert(
    fc.asyncProperty(fc.array(topic, { maxLength: 3 }), async (topics) => {
      const data = encode(topics)
      const ours = await decodeFetch(data)
      const theirs = await original.decode(data)
      const hasNews = ({ batches: each, errorCode, replica, cutOff }: (typeof topics)[0]['partitions'][0]) =>
        Buffer.concat(each).length > cutOff || errorCode !== 0 || replica !== -1
      const expected = theirs.responses.map(({ topicName, partitions }, t) => ({
        topicName,
        partitions: partitions
          .filter((_, p) => hasNews(topics[t]!.partitions[p]!))
          .map((each) => ({ ...each, abortedTransactions: [] })),
      }))
      expect({ ...ours, responses: [] }).toEqual({ ...theirs, responses: [] })
      expect(expected).toMatchObject(ours.responses)
      expect(ours.responses.map(({ partitions }) => partitions.length)).toEqual(
        expected.map(({ partitions }) => partitions.length),
      )
    }),
    seeded,
  )
})

interface ConsumerGroup {
  findReadReplicaForPartitions(topic: string, partitions: readonly number[]): object
  checkForStaleAssignment(): void
}
const { prototype } = require('kafkajs/src/consumer/consumerGroup') as { prototype: ConsumerGroup }
const { findReadReplicaForPartitions } = prototype
patchFetchCost()

const groupOf = (state: object) =>
  Object.assign(Object.create(prototype) as ConsumerGroup, {
    topicsSubscribed: ['t'],
    partitionsPerSubscribedTopic: new Map([['t', [0, 1]]]),
    preferredReadReplicasPerTopicPartition: {},
    ...state,
  })
const clusterOf = (metadata: readonly object[]) => ({ findTopicPartitionMetadata: () => metadata })

it('the patched consumer asks each broker for the same partitions as kafkajs', () => {
  const metadata = fc.uniqueArray(fc.record({ partitionId: fc.nat(9), leader: fc.integer({ min: -1, max: 2 }) }), {
    selector: ({ partitionId }) => partitionId,
  })
  const preferred = fc.dictionary(fc.nat(9).map(String), fc.record({ nodeId: fc.nat(2) }), { maxKeys: 2 })
  const partitions = fc.uniqueArray(fc.nat(9))
  fc.assert(
    fc.property(metadata, fc.option(preferred), partitions, (known, replicas, wanted) => {
      const preferredReadReplicasPerTopicPartition = replicas === null ? {} : { t: replicas }
      const group = groupOf({ cluster: clusterOf(known), preferredReadReplicasPerTopicPartition })
      const expected = findReadReplicaForPartitions.call(group, 't', wanted)
      expect(group.findReadReplicaForPartitions('t', wanted)).toEqual(expected)
    }),
    seeded,
  )
})

it('the patched consumer refuses a partition whose leader is unknown, as kafkajs does', () => {
  const group = groupOf({ cluster: clusterOf([{ partitionId: 0, leader: null }]) })
  expect(() => group.findReadReplicaForPartitions('t', [0])).toThrow('Invalid partition metadata')
})

it('the patched consumer fetches a partition that was added later', () => {
  let metadata = [{ partitionId: 0 }, { partitionId: 1 }]
  const group = groupOf({ cluster: { findTopicPartitionMetadata: () => metadata } })
  group.checkForStaleAssignment()
  group.checkForStaleAssignment()
  metadata = [...metadata, { partitionId: 2 }]
  expect(() => group.checkForStaleAssignment()).toThrow('Topic has been updated')
  expect(() => group.checkForStaleAssignment()).toThrow('Topic has been updated')
})
