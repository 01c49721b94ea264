import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '@customer-stream/runtime'
import { fetchEnds } from '@customer-stream/runtime/kafka'
import { createSimulation, ledgerEntry, makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { commandOf, settingsOf } from './run-command.ts'

const command = fileURLToPath(new URL('../../packages/cli/start.js', import.meta.url))
const CUSTOMERS = 200

let pipeline: Pipeline
let ingress: ServiceProcess
let projector: ServiceProcess
let middle: string
/**
 * Number of records in Kafka up to `middle`, and number of all records. Both include repeats.
 */
let storedFirst: number
let stored: number
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  ;[ingress, projector] = await Promise.all([pipeline.start('ingress'), pipeline.start('projector')])
  await Promise.all([ingress.untilReady(), projector.untilReady()])
  const send = async (timestamp: number) => {
    const answers = Array.from({ length: CUSTOMERS }, (_, i) =>
      pipeline.post(ingress, makeCustomersEvent({ customerUuid: `c${i}`, timestamp }).body),
    )
    for (const { status } of await Promise.all(answers)) expect(status).toBe(202)
    const ends = await fetchEnds(pipeline.admin, pipeline.topics.customers)
    return ends.reduce((sum, { high }) => sum + Number(high), 0)
  }
  storedFirst = await send(1)
  middle = new Date().toISOString()
  stored = await send(2)
  expect(storedFirst).toBeGreaterThanOrEqual(CUSTOMERS)
  expect(stored - storedFirst).toBeGreaterThanOrEqual(CUSTOMERS)
})
afterAll(() => pipeline.close())

const verify = async (...args: string[]) => {
  const { code, stdout, stderr } = await commandOf(pipeline, inject('brokers'))(['verify', ...args])
  const count = (label: string) => Number(new RegExp(`${label} +(\\d+)`).exec(stdout)?.[1] ?? Number.NaN)
  return {
    code,
    stdout,
    stderr,
    records: count('records in Kafka, customers'),
    customers: count('customers compared, every field'),
    byVersion: count('customers compared, version alone'),
    wrong: count('of these wrong in Redis'),
  }
}

/**
 * Returns the topics and groups in Kafka that belong to this pipeline. Other tests use the same
 * brokers.
 */
const traces = async () => {
  const { administrator, topics } = pipeline
  const prefix = topics.customers.replace('customers.raw', '')
  const [{ groups }, names] = await Promise.all([administrator.listGroups(), administrator.listTopics()])
  return [
    ...groups.map(({ groupId }) => groupId).filter((id) => id.includes(prefix)),
    ...names.filter((name) => name.startsWith(prefix)),
  ].sort()
}

it('verify without a ledger finds that Redis agrees with Kafka, and leaves no topic or group in Kafka', async () => {
  const before = await traces()
  expect(before).toEqual([...Object.values(pipeline.topics), pipeline.stateTopic, pipeline.erasuresTopic].sort())
  expect(await verify()).toMatchObject({ code: 0, records: stored, customers: CUSTOMERS, wrong: 0 })
  expect(await traces()).toEqual(before)
})

it('verify compares only customers with an event in a time range', async () => {
  expect(await verify('--since', middle)).toMatchObject({
    code: 0,
    records: stored - storedFirst,
    customers: CUSTOMERS,
    wrong: 0,
  })
  expect(await verify('--until', middle)).toMatchObject({
    code: 0,
    records: storedFirst,
    customers: CUSTOMERS,
    wrong: 0,
  })
  expect(await verify('--until', '2020-01-01')).toMatchObject({ code: 1, records: 0, customers: 0, wrong: 0 })
})

it('verify compares only a share of the customers with --sample', async () => {
  const { code, records, customers } = await verify('--sample', '0.3')
  expect(code).toBe(0)
  expect(customers).toBeGreaterThan(CUSTOMERS * 0.15)
  expect(customers).toBeLessThan(CUSTOMERS * 0.45)
  expect(records).toBeGreaterThanOrEqual(2 * customers)
  expect(records).toBeLessThanOrEqual(2 * customers + stored - 2 * CUSTOMERS)
})

it('verify fails if no customer could be compared', async () => {
  const ledgerPath = join(pipeline.folder, 'empty.jsonl')
  writeFileSync(ledgerPath, '')
  const withLedger = await verify('--ledger', ledgerPath)
  expect(withLedger).toMatchObject({ code: 1, wrong: 0, stdout: expect.stringContaining('nothing was compared') })
  expect(withLedger.stdout).toMatch(/promises given \(2xx answers\) +0/)
  expect(await verify('--until', '2020-01-01')).toMatchObject({
    code: 1,
    stdout: expect.stringContaining('nothing was compared'),
  })
})

it('verify passes while events are sent, with and without a ledger', async () => {
  const ledgerPath = join(pipeline.folder, 'ledger.jsonl')
  const stop = new AbortController()
  const { secret, token } = pipeline
  const simulation = createSimulation({
    url: `${ingress.url}/webhooks/mykaarma`,
    secret,
    token,
    ledgerPath,
    events: 100_000,
    customers: 50,
    ratePerSecond: 300,
    signal: stop.signal,
  })
  const sending = simulation.run()
  try {
    await waitUntil(
      'the ledger has promises',
      () => statSync(ledgerPath, { throwIfNoEntry: false })?.size ?? 0,
      (size) => size > 0,
    )
    const promisedBefore = simulation.progress.promised
    expect(await verify('--catch-up-seconds', '10')).toMatchObject({ code: 0, wrong: 0 })
    expect(await verify('--catch-up-seconds', '10', '--ledger', ledgerPath)).toMatchObject({ code: 0, wrong: 0 })
    expect(simulation.progress.promised).toBeGreaterThan(promisedBefore)
  } finally {
    stop.abort()
    await sending
  }
})

it('verify reports an acknowledged event that is in Kafka but unusable', async () => {
  const timestamp = Date.now() + 3 * 24 * 60 * 60 * 1000
  const { body, customerUuid, id } = makeCustomersEvent({ customerUuid: 'c9', timestamp })
  expect((await pipeline.post(ingress, body)).status).toBe(202)
  const ledgerPath = join(pipeline.folder, 'unusable.jsonl')
  const promise = ledgerEntry({ id, timestamp, type: 'customers', customerUuid }, body)
  writeFileSync(ledgerPath, `${JSON.stringify(promise)}\n`)
  const { code, wrong, stdout } = await verify('--ledger', ledgerPath)
  expect([code, wrong]).toEqual([1, 1])
  expect(stdout).toContain('customer c9 has an acknowledged event that is newer than any usable event in Kafka')
})

it('verify --state, and verify with the option exact, report a customer that is only in Redis', async () => {
  const key = (customerUuid: string) => `${pipeline.keyPrefix}customer:{${customerUuid}}`
  await waitUntil(
    'the projector has applied all records',
    () => pipeline.verify(undefined, { exact: true }),
    ({ newer, wrong }) => newer + wrong.length === 0,
  )
  await pipeline.redis.hset(key('nobody'), 'firstName', 'Mallory')
  expect((await pipeline.verify(undefined, { exact: true })).wrong).toEqual([
    { customerUuid: 'nobody', reason: 'is not in Kafka' },
  ])
  expect(await verify()).toMatchObject({ code: 0, wrong: 0 })
  const named = 'wrong: customer nobody is in Redis only'
  expect(await verify('--state')).toMatchObject({ code: 1, stdout: expect.stringContaining(named) })
  expect(await verify('--state', '--sample', '0.999')).toMatchObject({ code: 0 })
  await pipeline.redis.del(key('nobody'))
})

it('verify reports a hash that is newer than any event in Kafka', async () => {
  const { redis, topics } = pipeline
  const key = `${pipeline.keyPrefix}customer:{c6}`
  const before = await redis.hgetall(key)
  const wrong = [{ customerUuid: 'c6', reason: 'has a hash in Redis that is newer than its events in Kafka' }]
  const [partition] = (before._source ?? '').slice(topics.customers.length + 1).split('/')
  await redis.hset(key, '_eventTimestamp', String(Number.MAX_SAFE_INTEGER), 'firstName', 'Mallory')
  expect((await pipeline.verify()).wrong).toEqual(wrong)
  for (const source of ['nonsense', `${topics.customers}/${partition}/9007199254740993`]) {
    await redis.hset(key, '_source', source)
    expect([source, (await pipeline.verify()).wrong]).toEqual([source, wrong])
  }
  await redis.hdel(key, '_source')
  expect((await verify()).stdout).toContain(
    'wrong: customer c6 has a hash in Redis that is newer than its events in Kafka',
  )
  await redis.hset(key, before)
  expect((await pipeline.verify()).wrong).toEqual([])
})

describe('transactions of another producer in the raw topic', () => {
  const transactional = async () => {
    const transactionalId = randomUUID()
    const producer = kafkajsOf(pipeline.kafka).producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    const transaction = await producer.transaction()
    const { body, customerUuid } = makeCustomersEvent({ customerUuid: 'c1', timestamp: 3 })
    const messages = [{ key: customerUuid, value: body }]
    await transaction.send({ topic: pipeline.topics.customers, messages })
    return { transaction, producer }
  }

  it('verify skips aborted transactions of another producer, also at the end of a partition', async () => {
    const { transaction, producer } = await transactional()
    await transaction.abort()
    await producer.disconnect()
    expect(await verify()).toMatchObject({ code: 0, wrong: 0 })
  })

  it('verify fails while a transaction is open, and names the records that it hides', async () => {
    const { transaction, producer } = await transactional()
    const { code, stdout } = await verify('--catch-up-seconds', '1')
    expect(stdout).toMatch(
      /open transaction: 1 records of \S+customers\.raw\/\d+ at and after offset \d+ were not verified/,
    )
    expect(code).toBe(1)
    await transaction.commit()
    await producer.disconnect()
    expect(await verify()).toMatchObject({ code: 0, wrong: 0 })
  })
})

it('verify continues after an unreadable batch of the state topic, and names this batch', async () => {
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  // Compression 1 is gzip. A batch of more than 256 MiB is never decompressed.
  const messages = [{ key: 'huge', value: Buffer.alloc(257 * 1024 * 1024), partition: 0 }]
  await producer.send({ topic: pipeline.stateTopic, compression: 1, messages })
  await producer.disconnect()
  const { code, stdout } = await verify('--state')
  expect(stdout).toMatch(/cannot be read: the batch of records at \S+customers\.state\/0\/\d+/)
  expect(code).toBe(0)
})

it('verify reports an unusable record that is missing in quarantine', async () => {
  const { admin, administrator, topics } = pipeline
  const unusable = await pipeline.verify()
  expect(unusable).toMatchObject({ unusableByReason: { 'too-far-in-future': 1 }, notQuarantined: { count: 0 } })
  const ends = await fetchEnds(admin, topics.quarantine)
  expect(ends.reduce((sum, { high }) => sum + Number(high), 0)).toBe(unusable.records.quarantined)
  await administrator.deleteTopicRecords({
    topic: topics.quarantine,
    partitions: ends.map(({ partition, high }) => ({ partition, offset: high })),
  })
  const { code, stdout } = await verify()
  expect(stdout).toMatch(/of these unusable +1 {2}too-far-in-future 1/)
  expect(stdout).toMatch(/not in quarantine: record \S+customers\.raw\/\d+\/\d+/)
  expect(code).toBe(1)
  // With this retention, Kafka may already have deleted the copy, so its absence is not an error.
  const retention = [{ name: 'retention.ms', value: '1' }]
  await administrator.alterConfigs({
    validateOnly: false,
    resources: [{ type: 2, name: topics.quarantine, configEntries: retention }],
  })
  await waitUntil(
    'the verdict knows the retention of quarantine',
    () => pipeline.verify(),
    ({ notQuarantined }) => notQuarantined.count === 0,
  )
})

it('verify names each wrong customer by id with the reason, and exits with 1', async () => {
  await pipeline.redis.hset(`${pipeline.keyPrefix}customer:{c7}`, 'firstName', 'Mallory')
  const gone = Array.from({ length: 30 }, (_, i) => `${pipeline.keyPrefix}customer:{c${i + 8}}`)
  await Promise.all(gone.map((key) => pipeline.redis.del(key)))
  const { code, wrong, stdout } = await verify()
  expect([code, wrong]).toEqual([1, 31])
  expect(stdout.match(/is missing in Redis/g)).toHaveLength(30)
  expect(stdout).toContain('customer c7 has a hash whose fields differ from its newest event')
  expect(stdout).toContain('customer c8 is missing in Redis')
  expect(stdout).not.toContain('Mallory')
})

it('verify --repair shows its plan first, and with --execute repairs hashes and state documents', async () => {
  const key = (customerUuid: string) => `${pipeline.keyPrefix}customer:{${customerUuid}}`
  await pipeline.redis.hset(key('c1'), '_eventTimestamp', '99')
  await pipeline.redis.hset(key('c2'), { _eventTimestamp: '99', _source: `${pipeline.topics.customers}/0/999999` })
  await pipeline.redis.del(key('c3'))
  await pipeline.redis.set(key('c3'), 'not a hash')
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  await producer.send({ topic: pipeline.stateTopic, messages: [{ key: 'c4', value: null }] })
  await producer.disconnect()

  const planned = await verify('--state', '--repair')
  expect(planned).toMatchObject({ code: 1, stdout: expect.stringContaining('Nothing was changed.') })
  expect(planned.stdout).toMatch(/repair of 35 customers: the projector applies [\d,]+ records of \d+ partitions again/)
  expect(await pipeline.redis.hget(key('c7'), 'firstName')).toBe('Mallory')

  const repaired = await verify('--state', '--repair', '--execute', '--json')
  expect(repaired).toMatchObject({ code: 0, stderr: expect.stringContaining('repair of 35 customers') })
  expect(JSON.parse(repaired.stdout)).toMatchObject({ sound: true, wrongCount: 0 })
  expect(await pipeline.redis.hget(key('c7'), 'firstName')).not.toBe('Mallory')
  expect(await verify('--state', '--repair')).toMatchObject({ code: 0 })
})

it('verify --indexes finds a missing entry, and --repair adds it again', async () => {
  const [indexed = ''] = await pipeline.redis.keys(`${pipeline.keyPrefix}index:dealer:*`)
  const [customerUuid = ''] = await pipeline.redis.zrange(indexed, '0', '0')
  await pipeline.redis.zrem(indexed, customerUuid)
  expect(await verify()).toMatchObject({ code: 0 })
  const reason = `wrong: customer ${customerUuid} is missing in 1 of its indexes`
  expect(await verify('--indexes')).toMatchObject({ code: 1, stdout: expect.stringContaining(reason) })
  expect(await verify('--indexes', '--repair', '--execute')).toMatchObject({ code: 0 })
  expect(await pipeline.redis.zscore(indexed, customerUuid)).not.toBe(null)
})

it('an interrupted verify ends with exit code 130, and leaves no topic or group in Kafka', async () => {
  // No projector runs, so the command waits for a projector until the signal comes.
  await projector.end()
  expect((await pipeline.post(ingress, makeCustomersEvent().body)).status).toBe(202)
  const before = await traces()
  const env = { ...process.env, ...settingsOf(pipeline, inject('brokers')) }
  const words = ['--conditions=customer-stream-source', command, 'verify']
  const run = spawn(process.execPath, words, { env, stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(run, 'exit')
  let said = ''
  run.stderr.on('data', (data) => {
    said += data
  })
  await waitUntil(
    'verify waits for the projector',
    () => said,
    (now) => now.includes('waiting for the projector'),
  )
  run.kill('SIGINT')
  expect(await ended).toEqual([130, null])
  expect(said).toContain('verify: interrupted')
  expect(await traces()).toEqual(before)
})

it.each([
  [['--sample', '2'], '--sample must be a number from 0 to 1'],
  [['--sample', ''], '--sample must be a number from 0 to 1'],
  [['--sample', '0'], '--sample 0 leaves nothing to compare'],
  [['--since', '2026-11-24', '--until', '2026-11-24'], '--until must be after --since'],
  [['--since', 'yesterday'], '--since is not a valid time'],
  [['--ledger', 'x', '--sample', '0.1'], '--ledger cannot be used together'],
  [['--execute'], '--execute needs --repair'],
  [['--nonsense'], 'unknown option --nonsense'],
])('verify refuses the options %j with an error message and exit code 2', async (args, message) => {
  expect(await verify(...args)).toMatchObject({ code: 2, stderr: expect.stringContaining(message) })
})
