import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { customerFromHash, stateToHash } from './customer-hash.ts'
import { partitionOf } from './partitioner.ts'
import { type EventFault, readEvent } from './read-record.ts'
import { readState } from './state.ts'
import { compareVersions, type Version } from './version.ts'

const vectorsOf = <Vector>(name: string): Vector[] =>
  JSON.parse(readFileSync(new URL(`../conformance/${name}.json`, import.meta.url), 'utf8'))

interface CompareVector {
  readonly name: string
  readonly a: Version
  readonly b: Version
  readonly compare: number
  readonly idsUtf8: readonly string[]
}
interface ReadVector {
  readonly name: string
  readonly bodyBase64: string
  readonly contentType?: string
  readonly receivedAt?: number
  readonly expect: Version | EventFault
}
interface StateVector {
  readonly name: string
  readonly valueBase64: string
  readonly expect: Version | string
}
interface HashVector {
  readonly name: string
  readonly document: string
  readonly appliedAt: number
  readonly projection: number
  readonly hash: Readonly<Record<string, string>>
  readonly stored: string
}
interface PartitionVector {
  readonly key: string
  readonly keyUtf8: string
  readonly partitions: number
  readonly partition: number
}

const bytesOf = (base64: string) => Buffer.from(base64, 'base64')

/** Reads a raw record as the projector does. @returns the version, or the reason of quarantine. */
const read = ({ bodyBase64, contentType, receivedAt }: ReadVector): Version | EventFault => {
  const record = { offset: '0', timestamp: String(receivedAt ?? Number.MAX_SAFE_INTEGER), key: null }
  const headers = contentType === undefined ? {} : { 'content-type': contentType }
  const event = readEvent({ ...record, headers, value: bytesOf(bodyBase64) })
  return event.ok ? event.value.version : event.reason
}

/** Returns the fields as Redis has them. In UTF-8 a lone surrogate becomes U+FFFD. */
const asStored = (fieldsAndValues: readonly string[]) =>
  Object.fromEntries(
    fieldsAndValues.flatMap((name, i) =>
      i % 2 === 0 ? [[name.toWellFormed(), fieldsAndValues[i + 1]?.toWellFormed()]] : [],
    ),
  )

const hashOf = ({ document, appliedAt, projection }: HashVector) => {
  const state = readState(Buffer.from(document))
  if (!state.ok) throw new Error(state.detail)
  const hash = stateToHash(state.value, { appliedAt, projection })
  if (!hash.ok) throw new Error(hash.detail)
  return asStored(hash.value.fieldsAndValues)
}

describe('the conformance vectors', () => {
  it.each(vectorsOf<CompareVector>('compare'))(
    'compareVersions agrees with the conformance vector: $name',
    ({ a, b, compare, idsUtf8 }) => {
      expect(Math.sign(compareVersions(a, b))).toBe(compare)
      expect(Math.sign(compareVersions(b, a)) + compare).toBe(0)
      expect([a.id, b.id].map((id) => Buffer.from(id).toString('hex'))).toEqual(idsUtf8)
    },
  )

  it.each(vectorsOf<ReadVector>('read'))('readEvent agrees with the conformance vector: $name', (vector) => {
    expect(read(vector)).toEqual(vector.expect)
  })

  it.each(vectorsOf<StateVector>('state'))(
    'readState agrees with the conformance vector: $name',
    ({ valueBase64, expect: expected }) => {
      const state = readState(bytesOf(valueBase64))
      expect(state.ok ? state.value.version : state.reason).toEqual(expected)
    },
  )

  it.each(vectorsOf<HashVector>('hash'))('stateToHash agrees with the conformance vector: $name', (vector) => {
    const hash = hashOf(vector)
    expect(new Map(Object.entries(hash))).toEqual(new Map(Object.entries(vector.hash)))
  })

  it.each(vectorsOf<HashVector>('hash'))('customerFromHash returns the stored customer: $name', (vector) => {
    const stored = customerFromHash(vector.hash)
    // The vector has the expected customer as a text, because `JSON.parse` would round its long
    // numbers.
    expect(stored.ok && JSON.stringify(stored.value)).toBe(vector.stored)
  })

  it.each(vectorsOf<PartitionVector>('partition'))(
    'partitionOf agrees with the conformance vector: $key among $partitions partitions',
    (vector) => {
      expect(Buffer.from(vector.key).toString('hex')).toBe(vector.keyUtf8)
      expect(partitionOf(vector.key, vector.partitions)).toBe(vector.partition)
    },
  )

  it('the conformance vectors have a case for each reason to refuse a record', () => {
    // The type check fails if a reason is missing here. `nested-too-deep` has no case, because
    // parsers have different limits.
    const reasons: Readonly<Record<Exclude<EventFault, 'nested-too-deep'>, true>> = {
      'not-utf8': true,
      'not-json': true,
      'not-an-object': true,
      'missing-type': true,
      'payload-not-json': true,
      'payload-not-an-object': true,
      'missing-customer': true,
      'missing-customer-uuid': true,
      'invalid-customer-uuid': true,
      'not-a-customers-event': true,
      'missing-event-id': true,
      'invalid-event-id': true,
      'invalid-timestamp': true,
      'too-far-in-future': true,
    }
    const expected = vectorsOf<ReadVector>('read').map((vector) => vector.expect)
    expect(expected.filter((each) => typeof each === 'string')).toEqual(expect.arrayContaining(Object.keys(reasons)))
  })
})
