import { createRequire } from 'node:module'
import type { Kafka, Producer } from 'kafkajs'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createVerifiedProducer, NotStoredError, type OutgoingRecord } from './producer.ts'

// kafkajs' own producer over a cluster of two brokers that is played here. Only the network is missing: what is shown is what the library does.
const createKafkajsProducer = createRequire(import.meta.url)('kafkajs/src/producer') as (options: object) => Producer
const { KafkaJSProtocolError, KafkaJSRequestTimeoutError } = createRequire(import.meta.url)('kafkajs/src/errors') as {
  KafkaJSProtocolError: new (error: object) => Error
  KafkaJSRequestTimeoutError: new (message: string, details: object) => Error
}

interface ProduceRequest {
  producerId: number
  topicData: { topic: string; partitions: { partition: number; firstSequence: number; messages: { value: Buffer }[] }[] }[]
}

const protocolError = (type: string, retriable: boolean) => new KafkaJSProtocolError({ type, code: 1, retriable, message: type })

/** Broker 1 leads partition 0 and broker 2 leads partition 1, as the client sees it until it refreshes its metadata. */
const createCluster = () => {
  const log: Record<number, string[]> = { 0: [], 1: [] }
  const leader: Record<number, number> = { 0: 1, 1: 2 }
  let known = { ...leader }
  let refuse = (_value: string): string | undefined => undefined
  let repliesLost = 0
  let forgotten = -1
  let refreshes = 0
  const lastBatch = new Map<number, string>()
  /** As Kafka's ProducerStateEntry has it: of an idempotent producer, a batch with the sequence numbers of the last one is that one again. */
  const isDuplicate = (producerId: number, partition: number, firstSequence: number, count: number) => {
    const batch = `${firstSequence} ${count}`
    const known = lastBatch.get(partition) === batch
    lastBatch.set(partition, batch)
    return producerId >= 0 && known
  }
  const brokers = new Map(
    [1, 2].map((nodeId) => [
      nodeId,
      {
        nodeId,
        initProducerId: async () => ({ producerId: 1, producerEpoch: 0 }),
        produce: async ({ producerId, topicData }: ProduceRequest) => {
          const topics = topicData.map(({ topic, partitions }) => ({
            topicName: topic,
            partitions: partitions.map(({ partition, firstSequence, messages }) => {
              if (leader[partition] !== nodeId) throw protocolError('NOT_LEADER_FOR_PARTITION', true)
              const type = messages.map(({ value }) => refuse(String(value))).find(Boolean)
              if (type) throw protocolError(type, false)
              if (!isDuplicate(producerId, partition, firstSequence, messages.length))
                log[partition]?.push(...messages.map(({ value }) => String(value)))
              return { partition, errorCode: 0, baseOffset: '0' }
            }),
          }))
          if (repliesLost-- > 0) throw new KafkaJSRequestTimeoutError('no reply', {})
          return { topics }
        },
      },
    ]),
  )
  const silent = { namespace: () => silent, debug() {}, info() {}, warn() {}, error() {} }
  const cluster = {
    connect: async () => {},
    disconnect: async () => {},
    isConnected: () => true,
    refreshMetadata: async () => {
      known = { ...leader }
    },
    refreshMetadataIfNecessary: async () => {
      refreshes += 1
    },
    addMultipleTargetTopics: async () => {},
    findTopicPartitionMetadata: () => [0, 1].map((partitionId) => ({ partitionId, leader: known[partitionId] })),
    findLeaderForPartitions: (_topic: string, partitions: string[]) =>
      Object.groupBy(
        partitions.map(Number).filter((partition) => partition !== forgotten),
        (partition) => String(known[partition]),
      ),
    findControllerBroker: async () => brokers.get(1),
    findBroker: async ({ nodeId }: { nodeId: string }) => brokers.get(Number(nodeId)),
    targetTopics: new Set(['t']),
  }
  const kafka = { producer: (options: object) => createKafkajsProducer({ cluster, logger: silent, ...options }) } as unknown as Kafka
  return {
    kafka,
    log,
    /** How often kafkajs was about to ask for metadata. */
    refreshes: () => refreshes,
    /** Behind the client's back. */
    moveLeadership: (partition: number, nodeId: number) => {
      leader[partition] = nodeId
    },
    /** As kafkajs' own does with a partition that is not in its metadata. */
    forget: (partition: number) => {
      forgotten = partition
    },
    refuse: (by: typeof refuse) => {
      refuse = by
    },
    /** Stored, but unanswered. */
    loseReplies: (count: number) => {
      repliesLost = count
    },
  }
}

// These two keys belong to partitions 0 and 1 of 2.
const keys = ['b', 'd']
const records: OutgoingRecord[] = keys.map((key) => ({
  topic: 't',
  key: Buffer.from(key),
  value: Buffer.from(`value of ${key}`),
  timestamp: 1,
}))
const verified = async (kafka: Kafka, onUnacknowledged?: (records: number) => void) => {
  const producer = createVerifiedProducer(kafka, {
    metadataMaxAgeMs: 1000,
    produceTimeoutMs: 1000,
    ...(onUnacknowledged && { onUnacknowledged }),
  })
  await producer.connect()
  await producer.setPartitions(new Map([['t', 2]]))
  return producer
}

describe('leadership moves to a broker that has already answered, while the metadata is stale', () => {
  it('makes the plain producer of kafkajs resolve although a record was never written', async () => {
    const { kafka, log, moveLeadership } = createCluster()
    const producer = kafka.producer({
      retry: { initialRetryTime: 1 },
      createPartitioner:
        () =>
        ({ message }) =>
          message.partition ?? 0,
    })
    await producer.connect()
    moveLeadership(1, 1)
    await producer.send({ topic: 't', messages: [0, 1].map((partition) => ({ partition, value: `value ${partition}` })) })
    // If this fails, the library has been mended: the guard in producer.ts may go.
    expect(log).toEqual({ 0: ['value 0'], 1: [] })
  })

  it('does not deceive the verified producer: it promises nothing, and when it is asked again every record is written, at its own partition', async () => {
    const { kafka, log, moveLeadership } = createCluster()
    const producer = await verified(kafka)
    moveLeadership(1, 1)
    await expect(producer.send(records)).rejects.toMatchObject({ kind: 'unavailable' })
    expect(log[1]).toEqual([])
    await producer.send(records)
    expect(log).toEqual({ 0: ['value of b', 'value of b'], 1: ['value of d'] })
  })
})

it('does not take a partition that kafkajs has left out, since its metadata lacks it, for stored', async () => {
  const { kafka, log, forget } = createCluster()
  const unacknowledged: number[] = []
  const producer = await verified(kafka, (count) => unacknowledged.push(count))
  forget(1)
  await expect(producer.send(records)).rejects.toMatchObject({ kind: 'unavailable' })
  expect(log).toEqual({ 0: ['value of b'], 1: [] })
  expect(unacknowledged).toEqual([1, 1, 1, 1])
})

it('stores what follows a send whose replies were lost, which the idempotent producer of kafkajs would number as that one', async () => {
  const { kafka, log, loseReplies } = createCluster()
  const producer = await verified(kafka)
  const send = (value: string) => producer.send([{ topic: 't', key: Buffer.from('b'), value: Buffer.from(value), timestamp: 1 }])
  loseReplies(1)
  await expect(send('first')).rejects.toMatchObject({ kind: 'unavailable' })
  await send('second')
  expect(log[0]).toContain('second')
})

it('tells a record that Kafka will never take from an outage', async () => {
  const { kafka, refuse } = createCluster()
  const producer = await verified(kafka)
  refuse((value) => (value === 'value of d' ? 'MESSAGE_TOO_LARGE' : undefined))
  await expect(producer.send(records)).rejects.toMatchObject({ name: 'NotStoredError', kind: 'refused' })
  refuse((value) => (value === 'value of d' ? 'NOT_ENOUGH_REPLICAS' : undefined))
  await expect(producer.send(records)).rejects.toMatchObject({ kind: 'unavailable' })
})

it('asks who leads its partitions before anything is sent, and again when that is old', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  onTestFinished(() => void vi.useRealTimers())
  const { kafka, refreshes } = createCluster()
  const producer = await verified(kafka)
  expect(refreshes()).toBe(1)
  await vi.advanceTimersByTimeAsync(1000)
  expect(refreshes()).toBe(2)
  await producer.disconnect()
  await vi.advanceTimersByTimeAsync(5000)
  expect(refreshes()).toBe(2)
})

it('takes no record for a topic whose partitions are not known', async () => {
  const producer = createVerifiedProducer(createCluster().kafka, { metadataMaxAgeMs: 1000, produceTimeoutMs: 1000 })
  await producer.connect()
  await expect(producer.send(records)).rejects.toThrow(NotStoredError)
})

it('sends records without a key to one partition, and the next ones to another, in case that one fails', async () => {
  const { kafka, log } = createCluster()
  const producer = await verified(kafka)
  const anywhere = (...names: string[]) => names.map((name) => ({ topic: 't', key: null, value: Buffer.from(name), timestamp: 1 }))
  await producer.send(anywhere('x', 'y'))
  await producer.send(anywhere('z'))
  expect(log).toEqual({ 0: ['x', 'y'], 1: ['z'] })
})

it('sends a record that may go anywhere to another partition than its key binds it to', async () => {
  const { kafka, log } = createCluster()
  const producer = await verified(kafka)
  const [record] = records
  if (record === undefined) throw new Error('no record')
  const name = String(record.value)
  await producer.send([{ ...record, anyPartition: true }])
  await producer.send([{ ...record, anyPartition: true }])
  expect(log).toEqual({ 0: [name], 1: [name] })
})

it('tells to which partition a key binds a record, once it knows how many there are', async () => {
  const { kafka } = createCluster()
  const producer = createVerifiedProducer(kafka, { metadataMaxAgeMs: 1000, produceTimeoutMs: 1000 })
  const partitions = () => [...records, { topic: 't', key: null, value: null, timestamp: 1 }].map((record) => producer.partitionOf(record))
  expect(partitions()).toEqual([undefined, undefined, undefined])
  await producer.connect()
  await producer.setPartitions(new Map([['t', 2]]))
  expect(partitions()).toEqual([0, 1, undefined])
})
