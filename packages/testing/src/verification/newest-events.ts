import { createHash } from 'node:crypto'
import {
  type CustomerHash,
  compareVersions,
  customerToHash,
  isTooFarInFuture,
  META,
  parseEvent,
  readVersion,
  type Version,
} from '@customer-stream/schemas'

/** What Redis must hold of one customer: a hash of this version with one of these contents (two events may share a version by mistake of the sender). */
export interface Expected {
  readonly version: Version
  readonly contents: ReadonlySet<string>
}

// These tell which copy of an event was applied and when; a repeat may rightly have been the first to arrive.
const incidental: ReadonlySet<string> = new Set([META.receivedAt, META.appliedAt, META.source, META.projection])

/**
 * A digest of a hash's fields in no particular order, without the incidental ones. Text is taken in the form that Redis can hold (U+FFFD for a lone
 * surrogate); of two names that become one by it, the later value stays, as in Redis.
 */
export const contentOf = (fields: Iterable<readonly [string, string]>): string => {
  const digest = createHash('sha256')
  const wellFormed = new Map([...fields].map(([field, value]) => [field.toWellFormed(), value.toWellFormed()] as const))
  const sorted = [...wellFormed].filter(([field]) => !incidental.has(field)).sort(([a], [b]) => (a < b ? -1 : 1))
  for (const [field, value] of sorted) digest.update(JSON.stringify([field, value]))
  return digest.digest('base64')
}

const pairs = ({ fieldsAndValues }: CustomerHash): (readonly [string, string])[] => {
  const found: [string, string][] = []
  for (let i = 0; i < fieldsAndValues.length; i += 2) found.push([fieldsAndValues[i] ?? '', fieldsAndValues[i + 1] ?? ''])
  return found
}

/** Finds the newest usable event of each customer by reading the topic with the exported rules: an answer of its own to what the projector should have done. */
export const createNewestEvents = (maxFutureMs?: number) => {
  const newest = new Map<string, { version: Version; contents: Set<string> }>()
  return {
    /** @returns whether the record can be projected at all. */
    add: (value: Buffer | null, receivedAt: number): boolean => {
      const parsed = parseEvent(value ?? Buffer.alloc(0))
      if (!parsed.ok || parsed.value.kind !== 'customers') return false
      const hash = customerToHash(parsed.value, { topic: '', partition: 0, offset: '', receivedAt, appliedAt: 0, projection: 0 })
      if (!hash.ok || isTooFarInFuture(hash.value.version, receivedAt, maxFutureMs)) return false
      const { customerUuid, version } = hash.value
      const kept = newest.get(customerUuid)
      const order = kept === undefined ? 1 : compareVersions(version, kept.version)
      if (order > 0) newest.set(customerUuid, { version, contents: new Set([contentOf(pairs(hash.value))]) })
      if (order === 0) kept?.contents.add(contentOf(pairs(hash.value)))
      return true
    },
    expected: newest as ReadonlyMap<string, Expected>,
  }
}

/** `newer`: Redis has an event that was not looked at, so that the version alone could be compared. */
export type Finding = 'equal' | 'newer' | { readonly wrong: string }

export const compareHash = (expected: Expected, hash: Readonly<Record<string, string>>): Finding => {
  if (Object.keys(hash).length === 0) return { wrong: 'is missing in Redis' }
  const stored = readVersion({ id: hash[META.eventId], timestamp: hash[META.eventTimestamp] })
  if (!stored.ok) return { wrong: 'is no customer hash' }
  const order = compareVersions(stored.value, expected.version)
  if (order > 0) return 'newer'
  if (order < 0) return { wrong: 'is older in Redis than the newest event' }
  return expected.contents.has(contentOf(Object.entries(hash))) ? 'equal' : { wrong: 'differs in content from its newest event' }
}

/**
 * Customers of whom something newer was promised than the newest event in Kafka. What is usable is decided by code that the projector shares; the sender's
 * own record of (timestamp, id) is not, so that an event that both take for unusable does not go unnoticed.
 */
export const behindPromise = (promised: ReadonlyMap<string, Version>, found: ReadonlyMap<string, Pick<Expected, 'version'>>): string[] =>
  [...promised]
    .filter(([customerUuid, version]) => {
      const newest = found.get(customerUuid)
      return newest === undefined || compareVersions(newest.version, version) < 0
    })
    .map(([customerUuid]) => customerUuid)
