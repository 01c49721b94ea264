import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '@customer-stream/runtime'
import { readTopic } from '@customer-stream/runtime/kafka'
import { customerKey, partitionOf, quarantineAuditTopicName, writeErasure } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { inspectCommand, kafkajsOf, openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { runCommandLine } from '../fixtures/run-command-line.ts'

const command = fileURLToPath(new URL('../../packages/cli/start.js', import.meta.url))
const PARTITIONS = 12

let pipeline: Pipeline
let ingress: ServiceProcess
let auditTopic: string
/** A record that an operator has sent to quarantine, because it once stopped a projector. */
const stopped = makeCustomersEvent({ customerUuid: 'stopped', timestamp: 1 })
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  auditTopic = quarantineAuditTopicName(pipeline.topics.customers.replace('customers.raw', ''))
  ingress = await pipeline.start('ingress')
  await ingress.untilReady()
  expect((await pipeline.post(ingress, stopped.body)).status).toBe(202)
  const place = `${pipeline.topics.customers}/${partitionOf('stopped', PARTITIONS)}/0`
  const projector = await pipeline.start('projector', { QUARANTINE_RECORDS: place, POSITION_CHECK_MS: '200' })
  await projector.untilReady()
  await waitUntil('the named record is in quarantine', quarantined, (records) => records === 1)
})
afterAll(() => pipeline?.close())

const count = async (topic: string) => {
  let records = 0
  await readTopic(pipeline.admin, topic, () => {
    records += 1
  })
  return records
}
const quarantined = () => count(pipeline.topics.quarantine)

const wordsOf = (args: readonly string[]) => ['--conditions=customer-stream-source', command, 'quarantine', ...args]
const envOf = (settings: Readonly<Record<string, string>> = {}) => ({
  ...process.env,
  KAFKA_BROKERS: inject('brokers').kafkaBrokers.join(','),
  KAFKA_TOPIC_PREFIX: pipeline.topics.customers.replace('customers.raw', ''),
  KAFKA_CREATE_TOPICS: 'true',
  KAFKA_REPLICATION_FACTOR: '1',
  ...settings,
})
/** Runs `customer-stream quarantine` to its end. */
const run = async (args: readonly string[], settings?: Readonly<Record<string, string>>) => {
  const [words, env] = [['quarantine', ...args], envOf(settings)]
  const ended = await runCommandLine({ file: 'packages/cli/src/main.ts', words, env })
  inspectCommand(words, ended.stdout + ended.stderr, env)
  return ended
}
const list = async (...args: readonly string[]) => {
  const { stdout } = await run(['list', '--json', ...args])
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  return { records: lines.slice(0, -1), summary: lines.at(-1).summary }
}
const EXECUTE = ['--execute', '--requested-by', 'ops']

interface Copy {
  readonly value: Buffer | string | null
  readonly headers?: Record<string, string>
  readonly key?: string
  readonly timestamp?: string
  readonly partition?: number
}
/** Sends records to quarantine as another version of a service would. */
const putIntoQuarantine = async (messages: readonly Copy[]) => {
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  const topic = pipeline.topics.quarantine
  // A request must fit into the topic's max.message.bytes.
  for (let at = 0; at < messages.length; at += 200)
    await producer.send({
      topic,
      messages: messages.slice(at, at + 200).map((message) => ({ partition: 0, ...message })),
    })
  await producer.disconnect()
}
const erase = async (customerUuid: string) => {
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  const value = writeErasure({ erasedAt: 1, scope: 'forever', reason: 'test', requestedBy: 'test' })
  await producer.send({ topic: pipeline.erasuresTopic, messages: [{ key: customerUuid, value }] })
  await producer.disconnect()
}
const hashOf = (customerUuid: string) => pipeline.redis.hgetall(customerKey(customerUuid, pipeline.keyPrefix))
const untilApplied = (customerUuid: string) =>
  waitUntil(
    `${customerUuid} is in Redis`,
    () => hashOf(customerUuid),
    (hash) => Object.keys(hash).length > 0,
  )
const inLatin1 = (customerUuid: string, firstName: string) => {
  const payload = JSON.stringify({ customerWithVehicles: { customer: { customerUuid, firstName } } })
  return Buffer.from(JSON.stringify({ id: 'e1', timestamp: 1, type: 'customers', payload }), 'latin1')
}

const WRONG_USAGE = [
  [['lst'], 'unknown word "lst"; the nearest is list'],
  [[], 'a word is missing: list or show or redrive or drop'],
  [['list', '--resn', 'x'], 'unknown option --resn; the nearest is --reason'],
  [['list', '0/1'], 'unexpected "0/1"'],
  [['show'], 'PARTITION/OFFSET is missing'],
  [['show', '0/1', '0/2'], 'unexpected "0/2"'],
  [['redrive'], 'nothing is selected'],
  [['redrive', '--execute', '--requested-by', 'ops'], 'nothing is selected'],
  [['redrive', '0/1', '--execute'], '--requested-by is missing'],
  [['redrive', '0/1', '--exceute'], 'unknown option --exceute; the nearest is --execute'],
  [['redrive', '0/1', '--charset', 'klingon'], 'is not a charset'],
  [['redrive', '0/1', '--rate', '0'], '--rate must be a whole number from 1'],
  [['drop', '0/1', ...EXECUTE], '--note is missing'],
  [['drop', '0/1', ...EXECUTE, '--reason', 'why'], 'give the text for the audit as --note'],
] as const

it('a misspelt quarantine command or option changes nothing, with exit code 2', async () => {
  await Promise.all(
    WRONG_USAGE.map(async ([args, message]) =>
      expect([args, await run(args)]).toEqual([
        args,
        { code: 2, stdout: '', stderr: expect.stringContaining(message) },
      ]),
    ),
  )
})

describe('with the records of one test', () => {
  /** Marks all records as handled, so that each test sees only its own records. */
  beforeEach(async () => {
    const { code, stdout } = await run(['drop', '--until', '2100-01-01', ...EXECUTE, '--note', 'before a test'])
    expect([code, stdout]).toEqual([0, expect.stringContaining('dropped')])
  })

  it('quarantine list shows ids and all reasons, and no other data of customers', async () => {
    expect((await pipeline.post(ingress, '{"firstName": "Ada", oops')).status).toBe(400)
    await putIntoQuarantine([
      { value: 'x'.repeat(1024 * 1024), headers: { reason: 'reason-of-tomorrow' }, key: 'evil\x1b[2J' },
      { value: null },
    ])
    const { code, stdout } = await run(['list'])
    expect(code).toBe(0)
    expect(stdout).not.toContain('Ada')
    expect(stdout).not.toContain('\x1b')
    expect(stdout).toMatch(/\d+\/\d+ +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC {2}not-json +ingress {2}- {2}- {2}25 bytes\n/)
    expect(stdout).toMatch(/ {2}reason-of-tomorrow {2,}- {2}- {2}evil\\u\{1b\}\[2J {2}1,048,576 bytes\n/)
    expect(stdout).toMatch(/ {2}\(no reason\) .* no bytes\n/)
    expect(stdout).toMatch(/\n {2}reason-of-tomorrow +1\n/)
    const { records, summary } = await list('--reason', 'reason-of-tomorrow')
    expect([records.length, summary.records]).toEqual([1, 1])
    expect((await list('--limit', '0')).records).toEqual([])
    for (const words of [['list'], ['drop'], ['redrive']])
      expect(await run([...words, '--reason', 'nosuch'])).toMatchObject({
        code: 1,
        stdout: '',
        stderr: expect.stringContaining('no record has the reason "nosuch"'),
      })
  })

  it('quarantine list orders records by time, and redrive orders them by partition and offset', async () => {
    const partitions = Array.from({ length: PARTITIONS }, (_, partition) => partition)
    const started = Date.now()
    const values = [...partitions, ...partitions].map((partition, i) => ({
      value: '{',
      partition,
      timestamp: String(started + 1000 * i),
    }))
    await putIntoQuarantine(values.toReversed())
    const expected = partitions.flatMap((partition) => [partition, partition])
    const partitionOfPlace = ({ place }: { place: string }) => Number(place.split('/')[0])
    expect((await list()).records.map(partitionOfPlace)).toEqual([...partitions, ...partitions])
    expect((await list('--limit', '2')).records.map(partitionOfPlace)).toEqual(partitions.slice(-2))
    const { stdout } = await run(['redrive', '--until', '2100-01-01', '--json'])
    const lines = stdout.trimEnd().split('\n').slice(0, -1)
    expect(lines.map((line) => JSON.parse(line)).map(partitionOfPlace)).toEqual(expected)
  })

  it('quarantine show explains the reason, and cannot control the terminal', async () => {
    await putIntoQuarantine([
      { value: '{"a":"\x1b[2J"}\n\u202e', headers: { reason: 'not-json', detail: 'bad\x07' } },
      { value: Buffer.from([0xff, 0x41]), headers: { reason: 'not-utf8' } },
    ])
    const { records } = await list()
    const text = await run(['show', records[0].place])
    expect(text.code).toBe(0)
    expect(text.stdout).toContain('The record is not JSON.')
    expect(text.stdout).toContain('bad\\u{7}')
    expect(text.stdout).toContain('{"a":"\\u{1b}[2J"}\n\\u{202e}\n')
    const hex = await run(['show', records[1].place])
    expect(hex.stdout).toMatch(/00000000 {2}ff 41 +\.A\n$/)
    const json = JSON.parse((await run(['show', records[1].place, '--json'])).stdout)
    expect(json).toMatchObject({
      reason: 'not-utf8',
      base64: Buffer.from([0xff, 0x41]).toString('base64'),
      handled: [],
    })
    const missing = await run(['show', '0/999999'])
    expect(missing).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('partition 0 has the offsets'),
    })
  })

  it('quarantine show writes all bytes of a large record to a pipe', async () => {
    await putIntoQuarantine([{ value: 'x'.repeat(900_000), headers: { reason: 'not-json' } }])
    const [{ place }] = (await list()).records
    const child = spawn(process.execPath, wordsOf(['show', place, '--json']), {
      env: envOf(),
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    await once(child.stdout, 'readable')
    // A process that does not wait for the reader of its pipe ends within this time.
    await Promise.race([once(child, 'exit'), new Promise((resolve) => setTimeout(resolve, 3000))])
    const parts = await child.stdout.toArray()
    expect(JSON.parse(Buffer.concat(parts).toString()).text).toHaveLength(900_000)
  })

  it('quarantine redrive sends a body in an undeclared charset once, with its time of receipt', async () => {
    expect((await pipeline.post(ingress, inLatin1('jose', 'Jos\u00e9'))).status).toBe(400)
    const [{ place, receivedAt }] = (await list()).records
    const rawBefore = await count(pipeline.topics.customers)
    expect(await run(['redrive', place])).toMatchObject({ code: 1, stdout: expect.stringContaining('✘ not-utf8: ') })
    const dry = await run(['redrive', place, '--charset', 'windows-1252'])
    expect(dry).toMatchObject({ code: 0, stdout: expect.stringContaining(`${pipeline.topics.customers}, key jose\n`) })
    expect(dry.stdout).toContain('This was a dry run.')
    expect(await count(pipeline.topics.customers)).toBe(rawBefore)
    expect((await list()).records).toHaveLength(1)

    const done = await run(['redrive', place, ...EXECUTE], { MYKAARMA_CHARSET: 'windows-1252' })
    expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining('1 record redriven\n') })
    expect(await untilApplied('jose')).toMatchObject({ firstName: 'Jos\u00e9', _receivedAt: String(receivedAt) })
    expect((await list()).records).toEqual([])
    expect((await list('--all', '--reason', 'not-utf8')).records).toContainEqual(
      expect.objectContaining({ place, handled: 'redriven' }),
    )
    expect((await run(['show', place])).stdout).toMatch(
      /handled +redriven to \S+customers\.raw at \S+ \S+ UTC by ops\n/,
    )

    const again = await run(['redrive', '--customer', 'jose', '--charset', 'windows-1252', ...EXECUTE])
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('1 record redriven or dropped before') })
    expect(await count(pipeline.topics.customers)).toBe(rawBefore + 1)
  })

  it('a record that stopped a projector is redriven if the operator names its place', async () => {
    const { records } = await list('--all', '--reason', 'named-by-setting')
    expect(records).toMatchObject([{ id: 'stopped', handled: 'dropped' }])
    expect((await pipeline.verify()).wrongCount).toBe(1)
    const { code } = await run(['redrive', records[0].place, ...EXECUTE])
    expect(code).toBe(0)
    await untilApplied('stopped')
    const { erasuresTopic, stateTopic } = pipeline
    expect(await pipeline.verify(undefined, { erasuresTopic, stateTopic, exact: true })).toMatchObject({
      wrongCount: 0,
      wrong: [],
      notQuarantined: { count: 0 },
    })
  })

  it('a redrive makes no copy of an erased customer', async () => {
    await erase('erased')
    const { body } = makeCustomersEvent({ customerUuid: 'erased', timestamp: 9 })
    const other = { id: 'e1', dealeruuid: 'd1', timestamp: 1, type: 'serviceOrders', customerUuid: 'erased' }
    await putIntoQuarantine(
      [Buffer.from(body), JSON.stringify(other)].map((value) => ({ value, headers: { reason: 'refused-by-kafka' } })),
    )
    const rawBefore = await count(pipeline.topics.customers)
    const { code, stdout, stderr } = await run(['redrive', '--customer', 'erased', ...EXECUTE])
    expect([code, stderr]).toEqual([1, expect.stringContaining('✘ erased: The customer was erased')])
    expect(stdout).toContain('0 records redriven\n')
    expect(await count(pipeline.topics.customers)).toBe(rawBefore)
    expect(await count(pipeline.topics.other)).toBe(0)
  })

  it('a redrive makes no copy of a customer who is erased during the redrive', async () => {
    const ids = Array.from({ length: 6 }, (_, i) => `late-${i}`)
    await putIntoQuarantine(
      ids.map((customerUuid) => ({
        value: Buffer.from(makeCustomersEvent({ customerUuid, timestamp: 9 }).body),
        headers: { reason: 'refused-by-kafka' },
      })),
    )
    const [audited, rawBefore] = await Promise.all([count(auditTopic), count(pipeline.topics.customers)])
    const redrive = run(['redrive', '--reason', 'refused-by-kafka', '--rate', '1', ...EXECUTE])
    await waitUntil(
      'the redrive has begun',
      () => count(auditTopic),
      (now) => now > audited,
    )
    await erase('late-5')
    expect(await redrive).toMatchObject({ code: 1, stderr: expect.stringContaining('✘ erased: ') })
    expect((await count(pipeline.topics.customers)) - rawBefore).toBe(5)
  })

  it('quarantine list hides a dropped record, and redrive sends it only if the operator names its place', async () => {
    const { body } = makeCustomersEvent({ customerUuid: 'dropped', timestamp: 1 })
    await putIntoQuarantine([{ value: Buffer.from(body), headers: { reason: 'refused-by-kafka' } }])
    const [{ place }] = (await list()).records
    const drop = ['drop', place, '--note', 'a test']
    expect((await run(drop)).stdout).toContain('1 record would be dropped\n')
    expect((await list()).records).toHaveLength(1)
    expect(await run([...drop, ...EXECUTE])).toMatchObject({ code: 0 })
    expect((await list()).records).toEqual([])
    expect((await run(['show', place])).stdout).toMatch(/handled +dropped at .* by ops: a test\n/)
    const byFilter = await run(['redrive', '--customer', 'dropped', ...EXECUTE])
    expect(byFilter.stdout).toContain('0 records redriven\n1 record redriven or dropped before')
    expect((await run(['redrive', place, ...EXECUTE])).stdout).toContain('1 record redriven\n')
    await untilApplied('dropped')
  })

  it('quarantine list does not show another copy of a dropped record', async () => {
    const origin = { topic: pipeline.topics.customers, partition: '5', offset: '47', reason: 'too-far-in-future' }
    const copy = { value: 'x', headers: origin, timestamp: '1700000000000' }
    await putIntoQuarantine([copy])
    const [{ place }] = (await list()).records
    expect(await run(['drop', place, '--note', 'a test', ...EXECUTE])).toMatchObject({ code: 0 })
    await putIntoQuarantine([copy, { ...copy, headers: { ...origin, offset: '48' } }])
    const { records, summary } = await list()
    expect(records).toMatchObject([{ source: `${pipeline.topics.customers}/5/48` }])
    expect(summary).toMatchObject({ open: 1, byReason: { 'too-far-in-future': 1 } })
    const earlier = `0/${Number(records[0].place.split('/')[1]) - 1}`
    expect((await run(['show', earlier])).stdout).toMatch(/handled +another copy of the original was dropped\n/)
  })

  it('quarantine list shows several copies of one record once', async () => {
    const origin = { topic: pipeline.topics.customers, partition: '5', offset: '77', reason: 'not-json' }
    const copy = { value: 'x', headers: origin, timestamp: '1700000000000' }
    await putIntoQuarantine([copy, copy, copy])
    const { records, summary } = await list()
    expect(records).toMatchObject([{ source: `${pipeline.topics.customers}/5/77` }])
    expect(summary).toMatchObject({ open: 1, copies: 2, byReason: { 'not-json': 1 } })
    const all = (await list('--all', '--since', '2023-11-14T22:13:20Z', '--until', '2023-11-14T22:13:21Z')).records
    expect(all.filter(({ copyOf }: { copyOf?: string }) => copyOf === records[0].place)).toHaveLength(2)
  })

  it('a redrive that was killed or interrupted continues, and no event is lost', { timeout: 120_000 }, async () => {
    const RECORDS = 1000
    const GROUP = 100
    const events = Array.from({ length: RECORDS }, (_, i) =>
      makeCustomersEvent({ customerUuid: `many-${i}`, timestamp: 1 }),
    )
    await putIntoQuarantine(
      events.map(({ body }) => ({ value: Buffer.from(body), headers: { reason: 'refused-by-kafka' } })),
    )
    const rawBefore = await count(pipeline.topics.customers)
    const redrive = ['redrive', '--reason', 'refused-by-kafka', ...EXECUTE]
    /**
     * Stops a redrive after some of its records. At 60 records a second, the whole redrive would
     * take longer than 10 s, so the signal arrives before the redrive has sent all records.
     */
    const stopWith = async (signal: NodeJS.Signals) => {
      const auditBefore = await count(auditTopic)
      const child = spawn(process.execPath, wordsOf([...redrive, '--rate', '60']), {
        env: envOf(),
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      let stderr = ''
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text
      })
      await waitUntil(
        'some records are redriven',
        () => count(auditTopic),
        (audited) => audited >= auditBefore + 100,
      )
      child.kill(signal)
      const [code] = await once(child, 'exit')
      return { code, stderr }
    }
    await stopWith('SIGKILL')
    const { code, stderr } = await stopWith('SIGINT')
    expect([code, stderr]).toEqual([
      130,
      expect.stringMatching(/interrupted after 0\/\d+\. To continue there, run the same command again/),
    ])
    const last = await run(redrive)
    expect([last.code, last.stdout]).toEqual([0, expect.stringMatching(/ redriven or dropped before, so skipped\n/)])
    const sent = (await count(pipeline.topics.customers)) - rawBefore
    expect(sent).toBeGreaterThanOrEqual(RECORDS)
    expect(sent).toBeLessThanOrEqual(RECORDS + GROUP)
    await Promise.all(events.map(({ customerUuid }) => untilApplied(customerUuid)))
    const { erasuresTopic } = pipeline
    const { wrong } = await pipeline.verify(undefined, { erasuresTopic })
    expect(wrong.filter(({ customerUuid }) => customerUuid.startsWith('many-'))).toEqual([])
  })

  it('the quarantine command ends quietly if its output pipe is closed', async () => {
    const values = Array.from({ length: 3000 }, () => ({ value: 'x', headers: { reason: 'not-json' } }))
    await putIntoQuarantine(values)
    const child = spawn(process.execPath, wordsOf(['list']), { env: envOf(), stdio: ['ignore', 'pipe', 'pipe'] })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    await once(child.stdout, 'data')
    child.stdout.destroy()
    await once(child, 'exit')
    expect(stderr).toBe('')
  })

  it('without an audit topic, redrive sends nothing, and its error names the remedy', async () => {
    const other = await openPipeline(inject('brokers'))
    try {
      const prefix = other.topics.customers.replace('customers.raw', '')
      const otherIngress = await other.start('ingress')
      await otherIngress.untilReady()
      expect((await other.post(otherIngress, '{')).status).toBe(400)
      const settings = { KAFKA_TOPIC_PREFIX: prefix, KAFKA_CREATE_TOPICS: 'false' }
      const { stdout } = await run(['list'], settings)
      expect(stdout).toContain('1 open record, by')
      const drop = ['drop', '--reason', 'not-json', ...EXECUTE, '--note', 'x']
      expect(await run(drop, settings)).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(
          /Kafka has no topic \S+quarantine\.audit, .* topics create, .* KAFKA_CREATE_TOPICS=true\.\n$/,
        ),
      })
    } finally {
      await other.close({ removeTopics: true })
    }
  })

  it('audit entries of a deleted quarantine topic do not hide records of the new topic', async () => {
    const { administrator, topics, admin } = pipeline
    await putIntoQuarantine([{ value: 'x', headers: { reason: 'not-json' } }])
    await administrator.deleteTopics({ topics: [topics.quarantine] })
    await waitUntil(
      'no broker knows of quarantine',
      () => administrator.listTopics(),
      (names) => !names.includes(topics.quarantine),
    )
    await administrator.createTopics({
      topics: [{ topic: topics.quarantine, numPartitions: PARTITIONS, replicationFactor: 1 }],
      waitForLeaders: false,
    })
    await waitUntil(
      'the new topic has leaders',
      () => admin.fetchTopicOffsets(topics.quarantine).catch(() => []),
      (ends) => ends.length === PARTITIONS,
    )
    await putIntoQuarantine([{ value: 'y', headers: { reason: 'not-json' } }])
    expect((await list()).records).toMatchObject([{ place: '0/0', handled: null }])
  })
})
