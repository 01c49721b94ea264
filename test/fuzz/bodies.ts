/** Bodies for the fuzz tests: arbitrary bytes, and real events with random changes. */
import { readFileSync } from 'node:fs'
import { isRawNumber, type RawNumber } from '@customer-stream/schemas'
import { makeCustomersEvent, makeOtherEvent, OTHER_TYPES } from '@customer-stream/simulator'
import fc from 'fast-check'

const fixture = (name: string) =>
  readFileSync(new URL(`../../packages/schemas/src/fixtures/${name}`, import.meta.url), 'utf8')

const SAMPLES: readonly string[] = [
  fixture('customers.derived-as-delivered.json'),
  fixture('customers.parsed.json'),
  fixture('legacy-envelope.template.json'),
  makeCustomersEvent({ legacy: true }).body,
  makeCustomersEvent({ payloadForm: 'object', addressesStand: 'inside' }).body,
  makeCustomersEvent({ customerUuid: 'c', id: 'e', timestamp: 1 }).body,
  ...OTHER_TYPES.map((type) => makeOtherEvent({ type }).body),
]

/** Texts that have broken JSON parsers, or that have a meaning in this project. */
const NASTY: readonly string[] = [
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'customerUuid', 'customers', '_eventId', '__x'],
  ...['vehicles', 'addresses', 'dealerUuid', 'other', '"', '\\', '\\"', '\\u0000', '\\ud800', '\u2028', '\ufeff'],
  ...['{', '}', '[', ']', ',', ':', 'null', 'true', '-0', '1e400', '-1e-400', '12345678901234567890', '0.1e1', '1.0'],
  ...['\0', '\x7f', ' ', '\\u0063ustomerUuid', '}{', '{}', '{_}', '[[[[[[[[[[', '1728542293678.000'],
]
const nasty = fc.constantFrom(...NASTY)

type Json = null | boolean | number | string | RawNumber | Json[] | { [name: string]: Json }

// Node 22 and newer have `JSON.rawJSON`, but TypeScript's library does not declare it.
const { rawJSON } = JSON as typeof JSON & { rawJSON(text: string): RawNumber }

const isContainer = (json: unknown): json is Record<string, Json> =>
  typeof json === 'object' && json !== null && !isRawNumber(json)

/** Sets a member, even a member named `__proto__`. */
const put = (container: Record<string, Json>, name: string, value: Json) =>
  Object.defineProperty(container, name, { value, enumerable: true, configurable: true, writable: true })

interface Change {
  /** Selects a member: each level of the document uses one part of this number. */
  readonly pick: number
  /** New name of the member. Undefined keeps the name. */
  readonly name: string | undefined
  readonly value: Json
}

/**
 * Replaces or adds a random member of a document. The member may be inside the payload's string.
 */
const withChange = (document: Json, change: Change): Json => {
  if (!isContainer(document)) return change.value
  const names = Object.keys(document)
  // Most members are in the payload.
  const isInPayload = 'payload' in document && change.pick % 3 !== 0
  const name = isInPayload ? 'payload' : names[change.pick % Math.max(1, names.length)]
  if (name === undefined) return document
  const inner = { ...change, pick: Math.floor(change.pick / (3 * names.length)) }
  const member = document[name] as Json
  if (isContainer(member) && inner.pick % 4 !== 0) put(document, name, withChange(member, inner))
  else if (name === 'payload' && typeof member === 'string' && inner.pick % 8 !== 0) {
    try {
      put(document, name, JSON.stringify(withChange(JSON.parse(member), inner)))
    } catch {
      // Ignore the error: an earlier change has made the payload invalid.
    }
  } else put(document, Array.isArray(document) ? name : (change.name ?? name), change.value)
  return document
}

const RAW_NUMBERS = [
  '1e400',
  '-1e-400',
  '12345678901234567890',
  '1728542293678.000',
  '5e-324',
  '0.10000000000000000001',
]
const numbers = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.maxSafeInteger(),
  fc.constantFrom(0, 1),
)
const leaf: fc.Arbitrary<Json> = fc.oneof(
  ...[nasty, fc.string({ maxLength: 8 }), numbers, fc.boolean(), fc.constant(null)],
  fc.constantFrom(...RAW_NUMBERS).map((text) => rawJSON(text)),
)
const names = fc.oneof(nasty, fc.string({ maxLength: 4 }))
/** JavaScript can convert these objects neither to a number nor to a text. */
const inconvertible = leaf.map((value) => ({ toString: value }))
const anyChange = fc.record({
  pick: fc.nat(),
  name: fc.option(names, { nil: undefined }),
  value: fc.oneof(
    ...[leaf, fc.array(leaf, { maxLength: 3 }), inconvertible],
    fc.dictionary(names, leaf, { noNullPrototype: true }),
  ),
})

const changedMembers = fc
  .tuple(fc.constantFrom(...SAMPLES), fc.array(anyChange, { minLength: 1, maxLength: 4 }))
  .map(([sample, changes]) => {
    let document = JSON.parse(sample) as Json
    for (const each of changes) document = withChange(document, each)
    return Buffer.from(JSON.stringify(document))
  })

const edit = fc.record({
  /** Place of the edit, as a fraction of the length. */
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  remove: fc.oneof(fc.constant(0), fc.nat(3), fc.nat(200)),
  insert: fc.oneof(
    nasty.map((text) => Buffer.from(text)),
    fc.uint8Array({ maxLength: 4 }),
    fc.constantFrom('[', '{"a":').chain((text) => fc.nat(20_000).map((times) => Buffer.from(text.repeat(times)))),
  ),
})

const changedBytes = fc
  .tuple(fc.constantFrom(...SAMPLES), fc.array(edit, { minLength: 1, maxLength: 4 }))
  .map(([sample, edits]) => {
    let bytes = Buffer.from(sample)
    for (const { at, remove, insert } of edits) {
      const start = Math.floor(at * bytes.length)
      bytes = Buffer.concat([bytes.subarray(0, start), insert, bytes.subarray(start + remove)])
    }
    return bytes
  })

const arbitraryBytes = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.json().map((text) => Buffer.from(text)),
)

export const anyBody = fc.oneof(
  { weight: 6, arbitrary: changedMembers },
  { weight: 3, arbitrary: changedBytes },
  { weight: 1, arbitrary: arbitraryBytes },
)
