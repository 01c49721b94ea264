/** Searches every byte of the data folders of Kafka and Redis for an erased customer. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { requestErasure } from '@customer-stream/cli/request-erasure'
import { waitUntil } from '@customer-stream/runtime'
import { createVerifiedProducer } from '@customer-stream/runtime/kafka'
import { customerKey, partitionOf } from '@customer-stream/schemas'
import { type CustomersEventOverrides, makeCustomersEvent, makeOtherEvent } from '@customer-stream/simulator'
import { type InspectableBrokers, openPipeline, type Pipeline, startInspectableBrokers } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'

const PARTITIONS = 12
/** Kafka's number of the resource type "topic", in requests for settings. */
const TOPIC = 2
const CUSTOMER = 'Erased-Customer-77'
const SECRETS = ['Zerubbabel-77', 'z77@example.org', '1ZZ77CG0BF0817377', '+15550107777']

let brokers: InspectableBrokers
let pipeline: Pipeline
beforeAll(async () => {
  brokers = await startInspectableBrokers({
    'log.initial.task.delay.ms': '0',
    'log.retention.check.interval.ms': '100',
    'log.segment.delete.delay.ms': '0',
    'log.cleaner.backoff.ms': '100',
    // Kafka allocates 10 MiB for each index file, and the test searches every byte.
    'log.index.size.max.bytes': '4096',
  })
  pipeline = await openPipeline(brokers)
})
afterAll(async () => {
  await pipeline?.close()
  await brokers?.stop()
})

/** Returns the paths, relative to the folder, of all files that contain one of the texts. */
const filesWith = async (folder: string, ...texts: readonly string[]): Promise<string[]> => {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const found = await Promise.all(
    entries.map(async (entry) => {
      const path = join(entry.parentPath, entry.name)
      // Ignore an error, because Kafka or Redis may have deleted the file.
      const bytes = entry.isFile() ? await readFile(path).catch(() => Buffer.alloc(0)) : Buffer.alloc(0)
      return texts.some((text) => bytes.includes(text)) ? [path.slice(folder.length + 1)] : []
    }),
  )
  return found.flat()
}

/** Returns the topics whose records are in these files, and `redis` for a file of Redis. */
const ownersOf = (files: readonly string[]) => {
  const owner = (file: string) => {
    const [server = '', folder, name = ''] = file.split('/')
    return server.startsWith('kafka') && folder === 'data' ? name.replace(/^[^.]*\.|-\d+$/g, '') : server.split('-')[0]
  }
  return [...new Set(files.map(owner))].sort()
}

const eventOf = (change: CustomersEventOverrides = {}) => {
  const [firstName, email, vin, phone] = SECRETS
  return makeCustomersEvent({
    customerUuid: CUSTOMER,
    customer: { firstName, emails: [{ emailAddress: email }], phoneNumbers: [{ phoneNumber: phone }] },
    vehicles: [{ vin }],
    ...change,
  })
}

const configure = (topics: readonly string[], settings: Readonly<Record<string, string>>) =>
  pipeline.administrator.alterConfigs({
    validateOnly: false,
    resources: topics.map((name) => ({
      type: TOPIC,
      name,
      configEntries: Object.entries(settings).map(([setting, value]) => ({ name: setting, value })),
    })),
  })

// The time limit is long because Kafka deletes and compacts in background tasks.
it('the files of Kafka and Redis keep only the customerUuid of an erased customer', {
  timeout: 180_000,
}, async () => {
  const { topics, stateTopic, erasuresTopic, redis } = pipeline
  const ingress = await pipeline.start('ingress')
  const projector = await pipeline.start('projector', { POSITION_CHECK_MS: '200' })
  await Promise.all([ingress.untilReady(), projector.untilReady()])
  const post = async ({ body }: { readonly body: string }) =>
    expect((await pipeline.post(ingress, body)).status).toBe(202)

  const now = Date.now()
  const applied = eventOf({ timestamp: now })
  const other = makeOtherEvent()
  await post(eventOf({ timestamp: now - 1 }))
  await post(applied)
  await post(applied)
  await post(eventOf({ timestamp: now - 2 }))
  await post(eventOf({ timestamp: -1 }))
  await post({ body: other.body.replace(other.id, SECRETS[0] as string) })
  const everywhere = ['customers.raw', 'customers.state', 'other.raw', 'quarantine', 'redis']
  // The search must find the customer before the erasure. This shows that compression does not hide
  // the bytes.
  await waitUntil(
    'the customer is in all topics and in Redis',
    async () => ownersOf(await filesWith(brokers.folder, ...SECRETS)),
    (owners) => owners.length === everywhere.length,
  )
  expect(ownersOf(await filesWith(brokers.folder, ...SECRETS))).toEqual(everywhere)

  const producer = createVerifiedProducer(pipeline.kafka, { metadataMaxAgeMs: 1000, produceTimeoutMs: 1000 })
  await producer.connect()
  await producer.setPartitions(new Map([[erasuresTopic, PARTITIONS]]))
  const request = { customerUuid: CUSTOMER, scope: 'forever', reason: 'asked', requestedBy: 'test' } as const
  await requestErasure(producer, erasuresTopic, request)
  await producer.disconnect()
  await waitUntil(
    'the hash is deleted',
    () => redis.exists(customerKey(CUSTOMER, pipeline.keyPrefix)),
    (count) => count === 0,
  )

  await configure([topics.customers, topics.other, topics.quarantine], { 'retention.ms': '1' })
  const compacted = { 'cleanup.policy': 'compact', 'max.compaction.lag.ms': '1', 'delete.retention.ms': '0' }
  await configure([stateTopic], { ...compacted, 'segment.ms': '1', 'min.cleanable.dirty.ratio': '0' })
  await redis.bgrewriteaof()
  // Kafka does not compact the active segment. A record of another customer closes the segment.
  const neighbour = Array.from({ length: 1000 }, (_, i) => `neighbour-${i}`).find(
    (name) => partitionOf(name, PARTITIONS) === partitionOf(CUSTOMER, PARTITIONS),
  ) as string
  const round = async () => {
    await post(makeCustomersEvent({ customerUuid: neighbour }))
    return filesWith(brokers.folder, ...SECRETS)
  }
  await waitUntil('no file has the data of the customer', round, (files) => files.length === 0, {
    timeoutMs: 120_000,
    pauseMs: 200,
  })
  const named = await waitUntil(
    'the tombstone is deleted',
    async () => {
      await round()
      return ownersOf(await filesWith(brokers.folder, CUSTOMER))
    },
    (owners) => !owners.includes('customers.state'),
    { timeoutMs: 60_000, pauseMs: 200 },
  )
  // The record of the erasure and the mark in Redis have the customerUuid.
  expect(named).toEqual(['customers.erasures', 'redis'])
  // The logs of the services must not have data of the customer.
  expect(await filesWith(pipeline.folder, ...SECRETS)).toEqual([])
  expect(await redis.exists(customerKey(neighbour, pipeline.keyPrefix))).toBe(1)
})
