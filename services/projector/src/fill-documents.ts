/** Finds the newest document of each customer in records of the state topic. */
import type { IndexOptions } from '@customer-stream/indexes'
import type { FetchedRecord } from '@customer-stream/runtime/kafka'
import { compareVersions, readStateRecord, stateToHash, type Version } from '@customer-stream/schemas'
import { type IndexedCustomer, termsOf } from './indexes.ts'

export interface Documents {
  /** The newest document of each customer, by customer. */
  readonly customers: ReadonlyMap<string, IndexedCustomer>
  /** Time of the last tombstone of each customer, Unix milliseconds. */
  readonly erased: ReadonlyMap<string, number>
  /** Number of records that are neither documents nor tombstones. */
  readonly unusable: number
}

export interface DocumentOptions {
  readonly projection: number
  /** Undefined if indexes are switched off. */
  readonly indexes: IndexOptions | undefined
}

/** Matches the start of a document that the projector wrote. */
const START = /^\{"customerUuid":"[^"\\]*","version":\{"timestamp":(\d+),"id":"([^"\\]*)"\}/
const START_BYTES = 512

/**
 * Returns the version of a document without parsing the whole document. Undefined if another
 * program wrote the document.
 */
const peekVersion = (value: Buffer | null): Version | undefined => {
  const [, timestamp, id] = START.exec(value?.toString('utf8', 0, START_BYTES) ?? '') ?? []
  return timestamp === undefined || id === undefined ? undefined : { timestamp: Number(timestamp), id }
}

/**
 * Finds the newest document of each customer. Reads the records from the last to the first. Ignores
 * documents before the customer's last tombstone. Compares the versions of the other documents,
 * because a late projector may publish an old document last.
 */
export const documentsOf = (records: readonly FetchedRecord[], { projection, indexes }: DocumentOptions): Documents => {
  const termsOfState = termsOf(indexes)
  const customers = new Map<string, IndexedCustomer>()
  const erased = new Map<string, number>()
  /** Customers whose tombstone was read. Earlier records of these customers are ignored. */
  const done = new Set<string>()
  let unusable = 0
  for (const record of records.toReversed()) {
    const key = record.key?.toString() ?? ''
    if (done.has(key)) continue
    const known = customers.get(key)?.version
    const peeked = known && peekVersion(record.value)
    if (known && peeked && compareVersions(peeked, known) <= 0) continue
    const found = readStateRecord(record)
    const { customerUuid, state } = found.ok ? found.value : { customerUuid: key, state: undefined }
    const hash = state ? stateToHash(state, { appliedAt: Date.now(), projection }) : undefined
    if (hash?.ok) {
      if (known && compareVersions(hash.value.version, known) <= 0) continue
      customers.set(customerUuid, { ...hash.value, ...(state && termsOfState && { terms: termsOfState(state) }) })
    } else if (state === null) {
      done.add(customerUuid)
      if (!known) erased.set(customerUuid, Number(record.timestamp))
    } else unusable += 1
  }
  return { customers, erased, unusable }
}
