/**
 * Tests the functions that read foreign bytes, with arbitrary bodies and with changed real events.
 */
import {
  cloudEventOf,
  customerFromHash,
  customerKey,
  customerUuidOf,
  isRawNumber,
  META,
  parsePayload,
  partitionOf,
  peekVersion,
  QUARANTINE_REASONS,
  readErasureRecord,
  readRecord,
  readState,
  readStateRecord,
  stateToHash,
  topicNames,
  versionBytes,
  writeState,
} from '@customer-stream/schemas'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { readEvent } from '../../packages/verify/src/read-event.ts'
import { routeBody } from '../../services/ingress/src/http/webhook-route.ts'
import { anyBody } from './bodies.ts'

/**
 * Number of property tests in this file. In a long run, each test gets the same part of the time.
 */
const PROPERTIES = 5
const seconds = Number(process.env.FUZZ_SECONDS ?? 0)
const limits: fc.Parameters<unknown> =
  seconds === 0 ? { numRuns: 200 } : { numRuns: 1e9, interruptAfterTimeLimit: (seconds * 1000) / PROPERTIES }
const timeout = 60_000 + seconds * 1000

const STATE_REASONS = [
  ...['missing-key', 'invalid-key', 'wrong-key', 'not-utf8', 'not-json', 'nested-too-deep', 'not-a-state-document'],
]
const ERASURE_REASONS = ['missing-key', 'invalid-key', 'missing-value', 'not-an-erasure']
const MAX_FUTURE_MS = 86_400_000
const RECEIVED = 1_728_542_300_000
const projecting = { appliedAt: 1, projection: 1 }

const contentType = fc.option(
  fc.oneof(
    fc.constantFrom('text/plain', 'text/plain; charset=utf-16', 'text/plain; charset=ISO8859_1', ';charset="'),
    fc.string().map((text) => `text/plain; charset=${text}`),
  ),
  { nil: undefined, freq: 4 },
)
const recordOf = (value: Buffer, type?: string) => ({
  topic: 't',
  partition: 2,
  offset: '10',
  timestamp: String(RECEIVED),
  key: Buffer.from('c'),
  value,
  ...(type !== undefined && { headers: { 'content-type': Buffer.from(type) } }),
})

const membersOfPrototypes = () =>
  [Object.prototype, Array.prototype, String.prototype].map((prototype) => Reflect.ownKeys(prototype).length)
const untouched = membersOfPrototypes()

/**
 * Checks that no object inside the value has a foreign prototype. A setter of `__proto__` would set
 * such a prototype.
 */
const expectPlain = (value: unknown): void => {
  if (typeof value !== 'object' || value === null || isRawNumber(value)) return
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== Array.prototype) throw new Error('an object has a prototype')
  for (const member of Object.values(value)) expectPlain(member)
}

/** Checks each generated body. Fails if the check throws, or if it changes a prototype. */
const forEachBody = (check: (body: Buffer, type: string | undefined) => void) => {
  fc.assert(fc.property(anyBody, contentType, check), limits as fc.Parameters<[Buffer, string | undefined]>)
  expect(membersOfPrototypes()).toEqual(untouched)
}

/** Returns the events among the generated bodies, as records and states. */
const usable = (body: Buffer, type: string | undefined) => {
  const read = readRecord(recordOf(body, type))
  if (!read.ok) return undefined
  const { raw: _, ...state } = read.value
  return state
}

it('any body is a customer, or is refused for a documented reason', { timeout }, () => {
  let accepted = 0
  forEachBody((body, type) => {
    const read = readRecord(recordOf(body, type))
    if (read.ok) {
      accepted += 1
      const { raw: _, ...state } = read.value
      expectPlain(state)
    } else expect(Object.keys(QUARANTINE_REASONS)).toContain(read.reason)
  })
  // If no body were accepted, the test would check only refusals.
  expect(accepted).toBeGreaterThan(0)
})

it('verify and the services agree about any body', { timeout }, () => {
  forEachBody((body, type) => {
    const options = { receivedAt: RECEIVED, maxFutureMs: MAX_FUTURE_MS, contentType: type, key: Buffer.from('c') }
    const [ours, verifiers] = [readRecord(recordOf(body, type)), readEvent(body, options)]
    const reason = ours.ok ? undefined : ours.reason
    const verifiersReason = verifiers.usable ? undefined : verifiers.reason
    // The two readers may differ here, because the maximum depth depends on the free stack.
    if (reason === 'nested-too-deep' || verifiersReason === 'nested-too-deep') return
    expect(verifiersReason).toBe(reason)
    if (!ours.ok || !verifiers.usable) return
    const hash = stateToHash(ours.value, projecting)
    if (!hash.ok) throw new Error(hash.reason)
    const fields = new Map(
      Array.from(
        { length: hash.value.fieldsAndValues.length / 2 },
        (_, i) => hash.value.fieldsAndValues.slice(2 * i, 2 * i + 2) as [string, string],
      ),
    )
    for (const name of [META.appliedAt, META.projection, META.receivedAt, META.source]) fields.delete(name)
    expect(new Map([...verifiers.event.fields])).toEqual(fields)
  })
})

it('a customer is unchanged after conversion to a document, to a hash and back', { timeout }, () => {
  forEachBody((body, type) => {
    const state = usable(body, type)
    if (!state) return
    const hash = stateToHash(state, projecting)
    const key = Buffer.from(state.customerUuid)
    const read = readStateRecord({ key, value: Buffer.from(writeState(state)) })
    if (!hash.ok || !read.ok || !read.value.state) throw new Error('the document or the hash is unusable')
    expect(writeState(read.value.state)).toBe(writeState(state))
    expect(stateToHash(read.value.state, projecting)).toEqual(hash)
    const { fieldsAndValues } = hash.value
    const fields = Object.fromEntries(
      Array.from({ length: fieldsAndValues.length / 2 }, (_, i) => fieldsAndValues.slice(2 * i, 2 * i + 2)),
    )
    const stored = customerFromHash(fields)
    if (!stored.ok) throw new Error(stored.detail)
    expect(stored.value.version).toEqual(state.version)
    const { customer, vehicles, dealerUuid, departmentUuid, other, shadowed } = stored.value
    const lists = [{ vehicles, dealerUuid, departmentUuid }, customer, other, shadowed]
    const members = lists.flatMap((list) => Object.values(list)).filter((value) => value !== undefined)
    const metadata = Object.values(META).filter((name) => name in fields)
    expect(members.length).toBe(Object.keys(fields).length - metadata.length)
  })
})

it('any record of the state topic or the erasures topic is read, or refused for a documented reason', {
  timeout,
}, () => {
  const bodyOf = (state: object) => Buffer.from(JSON.stringify(state))
  forEachBody((body, type) => {
    const state = usable(body, type)
    const documents = state ? [bodyOf(state), bodyOf({ ...state, ...JSON.parse(JSON.stringify(state.customer)) })] : []
    for (const value of [body, ...documents])
      for (const key of [body.subarray(0, 40), Buffer.from(state?.customerUuid ?? 'c'), null]) {
        const [read, erasure] = [readStateRecord({ key, value }), readErasureRecord({ key, value })]
        if (!read.ok) expect(STATE_REASONS).toContain(read.reason)
        if (!erasure.ok) expect(ERASURE_REASONS).toContain(erasure.reason)
      }
    readState(body)
  })
})

it('route, key, partition and version of any body are valid', { timeout }, () => {
  const topics = topicNames('t.')
  forEachBody((body, type) => {
    parsePayload(body.toString('latin1'))
    const delivered = { contentType: type, encoding: undefined, signature: undefined, trace: undefined }
    const { record, answer } = routeBody(body, delivered, { topics, fallbackEncoding: 'windows-1252' })
    expect(Object.values(topics)).toContain(record.topic)
    if (answer !== 'accepted') expect(Object.keys(QUARANTINE_REASONS)).toContain(answer.detail)
    const state = usable(body, type)
    if (!state) return
    const { customerUuid, version } = state
    expect(customerUuidOf(customerKey(customerUuid))).toBe(customerUuid)
    expect(partitionOf(customerUuid, 12)).toBeLessThan(12)
    expect(versionBytes(version).length).toBeGreaterThan(8)
    expect(cloudEventOf(state).subject).toBe(customerUuid)
    if (type === undefined) expect([undefined, version]).toContainEqual(peekVersion(body, customerUuid))
  })
})
