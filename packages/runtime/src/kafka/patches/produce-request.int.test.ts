import { freshNames, readWithJava } from '@customer-stream/testing'
import { silentLogger, testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import { expect, it, onTestFinished } from 'vitest'
import { waitUntil } from '../../process/wait-until.ts'
import { createAdmin, createVerifiedProducer, type OutgoingRecord } from '../index.ts'
import { checkTopics } from '../topic-check.ts'

const MAX_VALUE_BYTES = 1_048_576
const RECORDS = 300
/**
 * Number of records in a send. The number is small, so that a batch of small records is smaller
 * than the largest record.
 */
const RECORDS_PER_SEND = 30
const settings = testKafkaSettings({ KAFKA_PARTITIONS: '3' })
const kafka = testKafka(settings)

/** Creates random numbers that are the same in each run. */
const randomNumbers = (seed: number) => {
  let state = seed
  return (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
const sizes = [0, 1, 63, 64, 200, 2000, 8191, 8192, 60_000]
const random = randomNumbers(7)
const randomBytes = () => Buffer.from(Array.from({ length: sizes[random(sizes.length)] ?? 0 }, () => random(256)))

const recordsOf = (topic: string): OutgoingRecord[] => [
  ...Array.from({ length: RECORDS }, (_, i) => ({
    topic,
    key: random(5) === 0 ? null : Buffer.from(`customer ${random(50)} é`),
    value: random(10) === 0 ? null : randomBytes(),
    headers: { number: `${i}`, 'ü 日本': 'x'.repeat(random(200)), empty: '' },
    timestamp: 1_700_000_000_000 + random(2 * 86_400_000),
  })),
  { topic, key: Buffer.alloc(0), value: Buffer.alloc(MAX_VALUE_BYTES, 'é'), timestamp: Date.now() },
]
const described = (key: Buffer | null, value: Buffer | null, timestamp: number | string, headers: object) =>
  [key?.toString('base64'), value?.toString('base64'), timestamp, JSON.stringify(headers)].join(' ')

it('Kafka’s Java client reads each record unchanged', { timeout: 120_000 }, async () => {
  const topic = `${freshNames().topicPrefix}raw`
  const admin = createAdmin(kafka)
  const producer = createVerifiedProducer(kafka, { metadataMaxAgeMs: 60_000, produceTimeoutMs: 5000 })
  onTestFinished(async () => void (await Promise.all([admin.disconnect(), producer.disconnect()])))
  await Promise.all([admin.connect(), producer.connect()])
  const demands = [{ topic, maxValueBytes: MAX_VALUE_BYTES }]
  await producer.setPartitions((await checkTopics(admin, settings, demands, silentLogger)).partitions)
  // Retry each send, because the leader of a new partition may not know the partition yet. A retry
  // may store some records twice.
  const store = (records: readonly OutgoingRecord[]) =>
    waitUntil(
      'the records are stored',
      () =>
        producer.send(records).then(
          () => 'stored',
          ({ message }: Error) => message,
        ),
      (answer) => answer === 'stored',
    )
  const given = recordsOf(topic)
  for (let from = 0; from < RECORDS; from += RECORDS_PER_SEND)
    await store(given.slice(from, Math.min(from + RECORDS_PER_SEND, RECORDS)))
  await store(given.slice(RECORDS))

  const read = await readWithJava(settings.KAFKA_BROKERS, topic)
  const readTexts = read.map(({ key, value, timestamp, headers }) =>
    described(key, value, timestamp, Object.fromEntries(headers.map(([name, text]) => [name, String(text)]))),
  )
  const givenTexts = given.map(({ key, value, timestamp, headers = {} }) => described(key, value, timestamp, headers))
  expect([...new Set(readTexts)].sort()).toEqual(givenTexts.sort())
  for (const { partition, key } of read)
    if (key !== null) expect(producer.partitionOf({ topic, key, value: null, timestamp: 0 })).toBe(partition)
})
