import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '@customer-stream/runtime'
import { fetchEnds } from '@customer-stream/runtime/kafka'
import {
  type CustomerState,
  customerKey,
  parseEvent,
  readState,
  stateOf,
  stateToHash,
  writeState,
} from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, openPipeline, type Pipeline } from '@customer-stream/testing'
import { customersInRedis } from '@customer-stream/verify'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { buildExample, type Example, LANGUAGES, type Language } from './example-programs.ts'

const BUILD_TIMEOUT_MS = 600_000
const vectors = fileURLToPath(new URL('../../packages/schemas/conformance/', import.meta.url))

type Hash = Readonly<Record<string, string | undefined>>
type Customers = Readonly<Record<string, Hash>>

/**
 * Fields that the comparison leaves out. A subscriber does not know `_appliedAt`, `_projection` and
 * `_index`. If an event was delivered twice, `_source` and `_receivedAt` may be of either record.
 */
const OF_THE_COPY: readonly string[] = ['_appliedAt', '_projection', '_source', '_receivedAt', '_index']

const comparable = (hash: Hash): Hash =>
  Object.fromEntries(Object.entries(hash).filter(([name]) => !OF_THE_COPY.includes(name)))

const hashOf = (state: CustomerState): Hash => {
  const hash = stateToHash(state, { appliedAt: 0, projection: 0 })
  if (!hash.ok) throw new Error(hash.detail)
  const list = hash.value.fieldsAndValues
  // In Redis, U+FFFD replaces each lone surrogate.
  const pairs = list.flatMap((name, i) => (i % 2 === 0 ? [[name.toWellFormed(), list[i + 1]?.toWellFormed()]] : []))
  return Object.fromEntries(pairs)
}

const linesOf = (output: string) => output.split('\n').filter((line) => line !== '')

/**
 * Returns the customers in the output of a subscriber to the state topic. Each line is a document.
 */
const fromDocuments = (output: string): Customers =>
  Object.fromEntries(
    linesOf(output).map((line) => {
      const state = readState(Buffer.from(line))
      if (!state.ok) throw new Error(`${state.detail}: ${line}`)
      return [state.value.customerUuid, comparable(hashOf(state.value))]
    }),
  )

const stateOfBody = (body: string | Buffer): CustomerState => {
  const event = parseEvent(Buffer.from(body))
  if (!event.ok || event.value.kind !== 'customers') throw new Error(`not a customers event: ${body}`)
  const state = stateOf(event.value, { topic: 't', partition: 0, offset: '0', receivedAt: 0 })
  if (!state.ok) throw new Error(state.detail)
  return state.value
}

/**
 * Returns the customers in the output of a subscriber to the raw topic. Each line has a version, a
 * dealer and a snapshot.
 */
const fromSnapshots = (output: string): Customers =>
  Object.fromEntries(
    linesOf(output).map((line) => {
      // Parse the line as the payload of another event type, because this keeps all digits of its
      // numbers.
      const parsed = parseEvent(Buffer.from(`{"type":"line","payload":${line}}`))
      if (!parsed.ok) throw new Error(`${parsed.detail}: ${line}`)
      const { customerUuid, version, state } = parsed.value.envelope.payload as {
        customerUuid: string
        version: { id: string; timestamp: number }
        state: { dealerUuid: unknown; departmentUuid: unknown; customerWithVehicles: object }
      }
      const { dealerUuid: dealeruuid, departmentUuid: departmentuuid, customerWithVehicles } = state
      const payload = { customerWithVehicles }
      const body = JSON.stringify({ ...version, type: 'customers', dealeruuid, departmentuuid, payload })
      return [customerUuid, comparable(hashOf(stateOfBody(body)))]
    }),
  )

let pipeline: Pipeline
let ingress: Awaited<ReturnType<Pipeline['start']>>
let projector: Awaited<ReturnType<Pipeline['start']>>
let producer: ReturnType<ReturnType<typeof kafkajsOf>['producer']>

const send = (topic: string, key: string, ...values: (string | Buffer | null)[]) =>
  producer.send({ topic, acks: -1, messages: values.map((value) => ({ key, value })) })

const post = async (body: string | Buffer, headers?: Readonly<Record<string, string>>) =>
  expect((await pipeline.post(ingress, body, headers)).status).toBe(202)

/** Waits until the projector has handled each record of the raw topic. */
const untilApplied = async () => {
  const ends = await fetchEnds(pipeline.admin, pipeline.topics.customers)
  const records = ends.reduce((sum, { high }) => sum + Number(high), 0)
  await waitUntil(
    'the projector has handled all records',
    () => projector.metric('projector_events_total'),
    (handled) => handled >= records,
  )
}

const inRedis = async (): Promise<Customers> => {
  const hashes: [string, Hash][] = []
  for await (const uuid of customersInRedis(pipeline.redis, pipeline.keyPrefix)) {
    const hash = await pipeline.redis.hgetall(customerKey(uuid, pipeline.keyPrefix))
    hashes.push([uuid, comparable(hash)])
  }
  return Object.fromEntries(hashes)
}

/** Posts events in disorder, with repeats, in each form that the sender uses. */
const postMany = async (newest: number) => {
  for (let i = 0; i < 40; i++) {
    const { body } = makeCustomersEvent({
      customerUuid: `customer-${i % 10}`,
      timestamp: newest - ((i * 7) % 40),
      addressesStand: i % 3 === 0 ? 'inside' : 'beside',
      payloadForm: i % 4 === 0 ? 'object' : 'string',
      legacy: i % 5 === 0,
    })
    await post(body)
    if (i % 6 === 0) await post(body)
  }
}

const eventOf = (id: string, timestamp: number, customer: string) =>
  `{"id":"${id}","timestamp":"${timestamp}","type":"customers","dealeruuid":"d",` +
  `"payload":{"customerWithVehicles":{"segment":[1,2],"customer":${customer}}}}`

/** Posts values that parsers of other languages change without an error. */
const postOdd = async (timestamp: number) => {
  const odd =
    '{"customerUuid":"Zo\u00eb","firstName":"\ud83d\ude97 \ud83d","id":12345678901234567890,' +
    '"huge":1e400,"rate":1.50,"_eventId":"forged","dealerUuid":"evil","":"empty",' +
    '"list":[0.12345678901234567890,"\u2028\ud800",{"b":1,"a":null}]}'
  // By UTF-8 bytes the first id is greater than the second id. By UTF-16 code units the first id is
  // smaller.
  await post(eventOf('\u{1F600}', timestamp, odd))
  await post(eventOf('\uFFFD', timestamp, '{"customerUuid":"Zoë"}'))
  const latin = eventOf('latin', timestamp, '{"customerUuid":"latin","firstName":"Renée"}')
  await post(Buffer.from(latin, 'latin1'), { 'content-type': 'text/plain; charset=ISO-8859-1' })
}

/** Sends an event that no reader may apply, in a transaction that is aborted. */
const sendAborted = async (topic: string, key: string, value: string) => {
  const transactional = kafkajsOf(pipeline.kafka).producer({ transactionalId: topic, maxInFlightRequests: 1 })
  await transactional.connect()
  const transaction = await transactional.transaction()
  await transaction.send({ topic, acks: -1, messages: [{ key, value }] })
  await transaction.abort()
  await transactional.disconnect()
}

/** Sends a stale event. A program may refuse this event, because it is nested 700 levels deep. */
const sendDeep = (key: string) => {
  const deep = `{"customerUuid":"${key}","deep":${'['.repeat(700)}${']'.repeat(700)}}`
  return send(pipeline.topics.customers, key, eventOf('deep', 1, deep))
}

/** @returns the number of unusable records. */
const sendUnusable = async (now: number): Promise<number> => {
  const customerUuid = 'customer-1'
  const late = makeCustomersEvent({ customerUuid, timestamp: now + 2 * 24 * 60 * 60 * 1000 }).body
  const values = [null, 'no json', '{"type":"mpis","id":"a"}', Buffer.from([0xff]), late]
  await send(pipeline.topics.customers, customerUuid, ...values)
  return values.length
}

/**
 * Adds unusual records to the state topic: an older document after a newer document, tombstones,
 * and records of other programs.
 * @returns the number of unusable records.
 */
const disturbStateTopic = async (): Promise<number> => {
  const topic = pipeline.stateTopic
  const old = stateOfBody(makeCustomersEvent({ customerUuid: 'customer-1', timestamp: 1 }).body)
  const erased = stateOfBody(makeCustomersEvent({ customerUuid: 'erased' }).body)
  await send(topic, 'customer-1', writeState(old))
  await send(topic, 'erased', writeState(erased), null)
  await send(topic, 'never-there', null)
  // The key of the last record is not the customer of its document.
  const foreign = ['no json', '{}', Buffer.from([0xff]), writeState(old)]
  await send(topic, 'foreign', ...foreign)
  // The partition then ends with a control record.
  const aborted = stateOfBody(makeCustomersEvent({ customerUuid: 'customer-1', timestamp: began + 1 }).body)
  await sendAborted(topic, 'customer-1', writeState(aborted))
  return foreign.length
}

const skippedIn = (log: string) => linesOf(log).filter((line) => line.includes('skipped ')).length

let unusable: number
let foreign: number
const began = Date.now()

beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  ingress = await pipeline.start('ingress')
  projector = await pipeline.start('projector')
  await Promise.all([ingress.untilReady(), projector.untilReady()])
  producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  await postMany(began)
  await postOdd(began)
  unusable = await sendUnusable(began)
  await sendDeep('customer-1')
  await untilApplied()
  foreign = await disturbStateTopic()
})
afterAll(async () => {
  await producer?.disconnect()
  await pipeline?.close()
})

const numberOfVectors = () =>
  readdirSync(vectors)
    .filter((name) => name.endsWith('.json'))
    .reduce((sum, name) => sum + JSON.parse(readFileSync(join(vectors, name), 'utf8')).length, 0)

describe.each(LANGUAGES)('the example in %s', (language: Language) => {
  let example: Example | { readonly missing: string }
  const folder = mkdtempSync(join(tmpdir(), `example-${language}-`))
  const env = () => ({
    KAFKA_BROKERS: inject('brokers').kafkaBrokers.join(','),
    KAFKA_TOPIC_PREFIX: pipeline.topics.customers.replace('customers.raw', ''),
    UNTIL_END: '1',
  })
  beforeAll(async () => {
    example = await buildExample(language)
    if ('missing' in example) process.stderr.write(`skipped: the example in ${language}: ${example.missing}\n`)
  }, BUILD_TIMEOUT_MS)
  const built = (skip: (note?: string) => never): Example => ('missing' in example ? skip(example.missing) : example)

  it('the example passes each conformance vector', async ({ skip }) => {
    const { stdout } = await built(skip).run('conformance', {}, vectors)
    expect(stdout.trim()).toBe(`${numberOfVectors()} passed, 0 failed`)
  })

  it("the example's subscriber to the state topic gets the customers that Redis has", async ({ skip }) => {
    const { stdout, stderr } = await built(skip).run('state', env())
    const expected = await inRedis()
    expect(Object.keys(expected)).toHaveLength(12)
    expect(fromDocuments(stdout)).toEqual(expected)
    expect(skippedIn(stderr)).toBe(foreign)
  })

  it("the example's subscriber to the raw topic gets Redis' customers, even after a restart", async ({ skip }) => {
    const program = built(skip)
    const settings = { ...env(), GROUP_ID: `${pipeline.topics.customers}-${language}`, STATE: join(folder, 'state') }
    const before = await program.run('raw', settings)
    expect(fromSnapshots(before.stdout)).toEqual(await inRedis())
    expect([unusable, unusable + 1]).toContain(skippedIn(before.stderr))
    // Between the two runs, two events arrive. The first is older than the customer in Redis, the
    // second is newer.
    const [older, newer] = [`${language}-older`, `${language}-newer`]
    await post(makeCustomersEvent({ customerUuid: 'customer-2', id: older, timestamp: began - 1_000_000 }).body)
    await post(makeCustomersEvent({ customerUuid: 'customer-3', id: newer, timestamp: Date.now() }).body)
    await untilApplied()
    const after = await program.run('raw', settings)
    const customers = fromSnapshots(after.stdout)
    expect(customers).toEqual(await inRedis())
    expect(customers['customer-3']?._eventId).toBe(newer)
    // The program continued at its position, so it did not read the unusable records again.
    expect(skippedIn(after.stderr)).toBe(0)
  })

  it("the example's subscriber ends with an error if the topic does not exist", async ({ skip }) => {
    const program = built(skip)
    const absent = { ...env(), KAFKA_TOPIC_PREFIX: 'absent.' }
    await expect(program.run('state', absent)).rejects.toMatchObject({ code: 1 })
  })
})
