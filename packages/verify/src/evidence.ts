import { hash } from 'node:crypto'
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite'
import type { EventVersion, StateDocument, Supersedable, UsableEvent } from './read-event.ts'
import type { Repairable } from './repair.ts'

/** SHA-256 of the fields of a hash or an event, or of a record's value. */
export type Digest = Uint8Array

/**
 * Metadata that may differ between two correct copies of one event. A digest leaves these fields
 * out. `compareHash` checks these fields, except `_index`. The comparison of the indexes checks
 * `_index`.
 */
export const COPY_METADATA: ReadonlySet<string> = new Set([
  '_receivedAt',
  '_appliedAt',
  '_source',
  '_projection',
  '_index',
])

/**
 * Returns a digest that does not depend on the order of the fields. Metadata that differs between
 * copies of an event is left out. A lone surrogate counts as U+FFFD, because Redis stores U+FFFD.
 */
export const contentOf = (fields: Iterable<readonly [string, string]>): Digest => {
  const kept = [...fields].filter(([field]) => !COPY_METADATA.has(field))
  const wellFormed = kept.map(([field, value]) => [field.toWellFormed(), value.toWellFormed()] as const)
  const sorted = wellFormed.sort(([a], [b]) => (a < b ? -1 : 1))
  return hash('sha256', JSON.stringify(sorted), 'buffer')
}

/** A customer and the version that the hash in Redis must have. */
export interface Expected extends EventVersion {
  readonly customerUuid: string
}

/**
 * A record of the raw topic that has its customer's newest event. There may be several records with
 * this event.
 */
export interface Copy {
  readonly content: Digest
  readonly receivedAt: number
}

/** The last document of a customer in the state topic, as a digest. */
export interface LastState extends EventVersion, Copy {
  readonly source: string
}

export interface Evidence {
  /** Adds a ledger entry: an event that was answered with 2xx (a promised event). */
  promise(print: string, entry: EventVersion & { readonly customerUuid: string | null }): void
  /** Marks the promised event with this fingerprint as found in Kafka. */
  found(print: string): void
  /**
   * Adds a usable event of the customers topic.
   * @param isAskedFor true if this event selects its customer for the comparison.
   */
  event(event: UsableEvent, place: string, receivedAt: number, isAskedFor: boolean): void
  unusable(record: {
    place: string
    reason: string
    receivedAt: number
    digest: Digest
    supersedable?: Supersedable | undefined
  }): void
  /**
   * Adds a record of quarantine (the dead-letter topic).
   * @param place `topic/partition/offset` of the raw record.
   * @param digest digest of the value. Null if the record in quarantine has no value. Then only its
   *   headers name the raw record.
   */
  quarantined(place: string, digest: Digest | null): void
  /**
   * Adds a record of the state topic, and replaces the customer's earlier record.
   * @param document null for a tombstone.
   */
  state(customerUuid: string, document: StateDocument | null): void
  /**
   * Adds an erasure, and replaces the customer's earlier erasure.
   * @param upTo timestamp of the newest event that is erased.
   */
  erasure(customerUuid: string, upTo: number): void
  wrong(customerUuid: string, reason: string): void
  /** Notes a problem that no repair corrects. Neither `wrong` nor `wrongEntry` replaces it. */
  unrepairable(customerUuid: string, reason: string): void
  /**
   * Adds a problem of an index, unless the customer already has a problem. The earlier problem is
   * the cause: a deleted hash leaves entries that no hash names.
   */
  wrongEntry(customerUuid: string, reason: string): void

  /** Yields the customers to compare, in batches of `size`. */
  expected(size: number): Generator<readonly Expected[]>
  hasContent(customerUuid: string, content: Digest): boolean
  copyAt(customerUuid: string, place: string): Copy | undefined
  isKnown(customerUuid: string): boolean
  /** Returns the customer's last record, null for a tombstone, undefined if there is no record. */
  lastState(customerUuid: string): LastState | null | undefined
  /** Yields the erased customers that have no events in Kafka, or only erased events. */
  erased(): Generator<{ readonly customerUuid: string; readonly upTo: number }>
  /** Returns true if the event is erased. */
  isErased(event: Pick<Expected, 'customerUuid' | 'timestamp'>): boolean
  /**
   * Yields the customers that the state topic has and the customers topic lacks. Leaves out the
   * tombstones of erased customers.
   */
  unknownStates(): Generator<string>
  /**
   * Looks at each customer that has a promised event. If Kafka has no event of this customer, or
   * only older events, marks the customer as wrong.
   */
  comparePromises(reason: string): void

  count(
    what:
      | 'promises'
      | 'promisedEvents'
      | 'missing'
      | 'customers'
      | 'unusable'
      | 'quarantined'
      | 'states'
      | 'erasures'
      | 'erased'
      | 'erasedAndSelected'
      | 'erasedAndWrong'
      | 'wrong'
      | 'repairable',
  ): number
  unusableByReason(): Record<string, number>
  /**
   * Returns the unusable records received at `sinceMs` or later that are not in quarantine. Leaves
   * out records that a usable event may have superseded. `places` has at most 100 records.
   */
  notQuarantined(sinceMs: number): { readonly count: number; readonly places: readonly string[] }
  /**
   * Returns the wrong customers that a repair can restore, because their newest event in Kafka is
   * not erased. Each entry has the customer and the last record of this event.
   */
  repairable(limit: number): Repairable[]
  missing(limit: number): { readonly id: string; readonly customerUuid: string | null }[]
  wrongs(limit: number): { readonly customerUuid: string; readonly reason: string }[]
  close(): void
}

const TABLES = `
  CREATE TABLE promise (print TEXT PRIMARY KEY, customer BLOB, id BLOB, found INTEGER) WITHOUT ROWID;
  CREATE TABLE promised (customer BLOB PRIMARY KEY, timestamp INTEGER, id BLOB) WITHOUT ROWID;
  CREATE TABLE newest (customer BLOB PRIMARY KEY, timestamp INTEGER, id BLOB, asked INTEGER) WITHOUT ROWID;
  CREATE TABLE copy (customer BLOB, place TEXT, content BLOB, receivedAt INTEGER,
    PRIMARY KEY (customer, place)) WITHOUT ROWID;
  CREATE TABLE unusable (place TEXT PRIMARY KEY, reason TEXT, receivedAt INTEGER, digest BLOB,
    customer BLOB, timestamp INTEGER, id BLOB) WITHOUT ROWID;
  CREATE TABLE quarantined (place TEXT, digest BLOB, PRIMARY KEY (place, digest)) WITHOUT ROWID;
  CREATE TABLE state (customer BLOB PRIMARY KEY, timestamp INTEGER, id BLOB, content BLOB,
    receivedAt INTEGER, source TEXT) WITHOUT ROWID;
  CREATE TABLE erasure (customer BLOB PRIMARY KEY, upTo INTEGER) WITHOUT ROWID;
  CREATE TABLE wrong (customer BLOB PRIMARY KEY, reason TEXT, isRepairable INTEGER) WITHOUT ROWID;
`
// Customers that must have no hash, because all of their events in Kafka are erased.
const ERASED = `FROM erasure e LEFT JOIN newest n USING (customer) WHERE (n.timestamp IS NULL OR n.timestamp <= e.upTo)`
// A customer may have several records with its newest event. SQLite returns the place of the row
// that has the greatest offset.
const REPAIRABLE = `FROM wrong w JOIN newest n USING (customer) JOIN copy c USING (customer)
  LEFT JOIN erasure e USING (customer) WHERE w.isRepairable AND n.timestamp > coalesce(e.upTo, 0)`
const COUNTS = {
  promisedEvents: 'SELECT count(*) FROM promise',
  missing: 'SELECT count(*) FROM promise WHERE NOT found',
  customers: 'SELECT count(*) FROM newest WHERE asked',
  unusable: 'SELECT count(*) FROM unusable',
  quarantined: 'SELECT count(*) FROM quarantined',
  states: 'SELECT count(*) FROM state WHERE id IS NOT NULL',
  erasures: 'SELECT count(*) FROM erasure',
  erased: `SELECT count(*) ${ERASED}`,
  erasedAndSelected: `SELECT count(*) ${ERASED} AND n.asked`,
  erasedAndWrong: `SELECT count(*) ${ERASED} AND EXISTS (SELECT 1 FROM wrong w WHERE w.customer = e.customer)`,
  wrong: 'SELECT count(*) FROM wrong',
  repairable: `SELECT count(DISTINCT customer) ${REPAIRABLE}`,
}
const NOT_QUARANTINED = `FROM unusable u WHERE receivedAt >= ? AND NOT EXISTS
  (SELECT 1 FROM quarantined q WHERE q.place = u.place AND q.digest IN (u.digest, x''))
  AND NOT EXISTS
  (SELECT 1 FROM newest n WHERE n.customer = u.customer AND (n.timestamp, n.id) >= (u.timestamp, u.id))`
const CACHE_KIB = 32 * 1024

// Ids are stored as blobs, because SQLite compares blobs byte by byte, as the version rule does.
const bytes = (id: string): Uint8Array => Buffer.from(id)
const text = (value: SQLOutputValue | undefined): string => Buffer.from(value as Uint8Array).toString()
const POINTER = new Uint8Array()

/** Stores the entries of the ledger, and counts what was stored. */
const createLedgerEvidence = (
  db: DatabaseSync,
): Pick<Evidence, 'promise' | 'found' | 'comparePromises' | 'missing' | 'count'> => {
  let ledgerLines = 0
  const addPromise = db.prepare('INSERT OR IGNORE INTO promise VALUES (?, ?, ?, 0)')
  const addPromised = db.prepare(`INSERT INTO promised VALUES (?, ?, ?) ON CONFLICT DO UPDATE
    SET timestamp = excluded.timestamp, id = excluded.id
    WHERE (excluded.timestamp, excluded.id) > (timestamp, promised.id)`)
  const markFound = db.prepare('UPDATE promise SET found = 1 WHERE print = ?')
  return {
    promise: (print, { customerUuid, timestamp, id }) => {
      ledgerLines += 1
      addPromise.run(print, customerUuid === null ? null : bytes(customerUuid), bytes(id))
      if (customerUuid !== null) addPromised.run(bytes(customerUuid), timestamp, bytes(id))
    },
    found: (print) => {
      markFound.run(print)
    },
    comparePromises: (reason) => {
      db.prepare(`INSERT OR REPLACE INTO wrong
        SELECT customer, ?, 1 FROM promised p LEFT JOIN newest n USING (customer)
        WHERE n.timestamp IS NULL OR (n.timestamp, n.id) < (p.timestamp, p.id)`).run(reason)
    },
    missing: (limit) =>
      db
        .prepare('SELECT customer, id FROM promise WHERE NOT found LIMIT ?')
        .all(limit)
        .map(({ customer, id }) => ({ id: text(id), customerUuid: customer === null ? null : text(customer) })),
    count: (what) =>
      what === 'promises' ? ledgerLines : Number(Object.values(db.prepare(COUNTS[what]).get() ?? {})[0]),
  }
}

/** Stores the records of the topics. */
const createTopicEvidence = (
  db: DatabaseSync,
): Pick<Evidence, 'event' | 'unusable' | 'quarantined' | 'state' | 'erasure'> => {
  const newestOf = db.prepare('SELECT timestamp, id, asked FROM newest WHERE customer = ?')
  const setNewest = db.prepare('INSERT OR REPLACE INTO newest VALUES (?, ?, ?, ?)')
  const askFor = db.prepare('UPDATE newest SET asked = 1 WHERE customer = ?')
  const dropCopies = db.prepare('DELETE FROM copy WHERE customer = ?')
  const addCopy = db.prepare('INSERT OR REPLACE INTO copy VALUES (?, ?, ?, ?)')
  const addUnusable = db.prepare('INSERT OR REPLACE INTO unusable VALUES (?, ?, ?, ?, ?, ?, ?)')
  const addQuarantined = db.prepare('INSERT OR IGNORE INTO quarantined VALUES (?, ?)')
  const setState = db.prepare('INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?, ?)')
  const setErasure = db.prepare('INSERT OR REPLACE INTO erasure VALUES (?, ?)')
  return {
    event: ({ customerUuid, timestamp, id, fields }, place, receivedAt, isAskedFor) => {
      const [customer, idBytes] = [bytes(customerUuid), bytes(id)]
      const kept = newestOf.get(customer)
      const order =
        kept === undefined ? 1 : timestamp - Number(kept.timestamp) || Buffer.compare(idBytes, kept.id as Uint8Array)
      const asked = isAskedFor || kept?.asked === 1
      if (order > 0) setNewest.run(customer, timestamp, idBytes, asked ? 1 : 0)
      else if (asked && kept?.asked === 0) askFor.run(customer)
      if (order > 0 && kept !== undefined) dropCopies.run(customer)
      if (order >= 0) addCopy.run(customer, place, contentOf(fields), receivedAt)
    },
    unusable: ({ place, reason, receivedAt, digest, supersedable }) => {
      const { customerUuid, timestamp = null, id } = supersedable ?? {}
      const orNull = (one: string | undefined) => (one === undefined ? null : bytes(one))
      addUnusable.run(place, reason, receivedAt, digest, orNull(customerUuid), timestamp, orNull(id))
    },
    quarantined: (place, digest) => {
      addQuarantined.run(place, digest ?? POINTER)
    },
    state: (customerUuid, document) => {
      const customer = bytes(customerUuid)
      if (document === null) return void setState.run(customer, null, null, null, null, null)
      const { timestamp, id, fields, receivedAt, source } = document
      setState.run(customer, timestamp, bytes(id), contentOf(fields), receivedAt, source)
    },
    erasure: (customerUuid, upTo) => {
      setErasure.run(bytes(customerUuid), upTo)
    },
  }
}

/** Creates the functions with which the comparisons look up a customer. */
const createLookups = (
  db: DatabaseSync,
): Pick<
  Evidence,
  'expected' | 'hasContent' | 'copyAt' | 'lastState' | 'erased' | 'isErased' | 'unknownStates' | 'isKnown'
> => {
  const newestOf = db.prepare('SELECT timestamp, id, asked FROM newest WHERE customer = ?')
  const withContent = db.prepare('SELECT 1 FROM copy WHERE customer = ? AND content = ? LIMIT 1')
  const atPlace = db.prepare('SELECT content, receivedAt FROM copy WHERE customer = ? AND place = ?')
  const stateOf = db.prepare('SELECT * FROM state WHERE customer = ?')
  const erasureOf = db.prepare('SELECT upTo FROM erasure WHERE customer = ?')
  return {
    expected: function* (size) {
      let batch: Expected[] = []
      for (const { customer, timestamp, id } of db.prepare('SELECT * FROM newest WHERE asked').iterate()) {
        batch.push({ customerUuid: text(customer), timestamp: Number(timestamp), id: text(id) })
        if (batch.length < size) continue
        yield batch
        batch = []
      }
      if (batch.length > 0) yield batch
    },
    hasContent: (customerUuid, content) => withContent.get(bytes(customerUuid), content) !== undefined,
    copyAt: (customerUuid, place) => {
      const row = atPlace.get(bytes(customerUuid), place)
      return row && { content: row.content as Uint8Array, receivedAt: Number(row.receivedAt) }
    },
    lastState: (customerUuid) => {
      const row = stateOf.get(bytes(customerUuid))
      if (row === undefined || row.id === null) return row && null
      const { timestamp, id, content, receivedAt, source } = row
      return {
        timestamp: Number(timestamp),
        id: text(id),
        content: content as Uint8Array,
        receivedAt: Number(receivedAt),
        source: String(source),
      }
    },
    erased: function* () {
      const rows = db.prepare(`SELECT e.customer, e.upTo ${ERASED}`)
      for (const { customer, upTo } of rows.iterate()) yield { customerUuid: text(customer), upTo: Number(upTo) }
    },
    isErased: ({ customerUuid, timestamp }) => timestamp <= Number(erasureOf.get(bytes(customerUuid))?.upTo ?? 0),
    unknownStates: function* () {
      const rows = db.prepare(`SELECT s.customer FROM state s LEFT JOIN newest n USING (customer)
        WHERE n.id IS NULL
        AND (s.id IS NOT NULL OR NOT EXISTS (SELECT 1 FROM erasure e WHERE e.customer = s.customer))`)
      for (const { customer } of rows.iterate()) yield text(customer)
    },
    isKnown: (customerUuid) => newestOf.get(bytes(customerUuid)) !== undefined,
  }
}

/** Stores and lists wrong customers, and lists unusable records. */
const createFindings = (
  db: DatabaseSync,
): Pick<
  Evidence,
  'wrong' | 'unrepairable' | 'wrongEntry' | 'wrongs' | 'repairable' | 'unusableByReason' | 'notQuarantined'
> => {
  const addWrong = db.prepare(`INSERT INTO wrong VALUES (?, ?, 1)
    ON CONFLICT DO UPDATE SET reason = excluded.reason WHERE isRepairable`)
  const addUnrepairable = db.prepare('INSERT OR REPLACE INTO wrong VALUES (?, ?, 0)')
  const addConsequence = db.prepare('INSERT OR IGNORE INTO wrong VALUES (?, ?, 1)')
  return {
    wrong: (customerUuid, reason) => {
      addWrong.run(bytes(customerUuid), reason)
    },
    unrepairable: (customerUuid, reason) => {
      addUnrepairable.run(bytes(customerUuid), reason)
    },
    wrongEntry: (customerUuid, reason) => {
      addConsequence.run(bytes(customerUuid), reason)
    },
    wrongs: (limit) =>
      db
        .prepare('SELECT customer, reason FROM wrong LIMIT ?')
        .all(limit)
        .map(({ customer, reason }) => ({ customerUuid: text(customer), reason: String(reason) })),
    repairable: (limit) =>
      db
        .prepare(`SELECT customer, place, max(CAST(substr(place, instr(place, '/') + 1) AS INTEGER)) ${REPAIRABLE}
          GROUP BY customer LIMIT ?`)
        .all(limit)
        .map(({ customer, place }) => {
          const [partition, offset] = String(place).split('/').map(BigInt)
          return { customerUuid: text(customer), partition: Number(partition), offset: offset ?? 0n }
        }),
    unusableByReason: () => {
      const rows = db.prepare('SELECT reason, count(*) AS records FROM unusable GROUP BY reason ORDER BY reason').all()
      return Object.fromEntries(rows.map(({ reason, records }) => [String(reason), Number(records)]))
    },
    notQuarantined: (sinceMs) => ({
      count: Number(db.prepare(`SELECT count(*) AS records ${NOT_QUARANTINED}`).get(sinceMs)?.records),
      places: db
        .prepare(`SELECT place ${NOT_QUARANTINED} LIMIT 100`)
        .all(sinceMs)
        .map(({ place }) => String(place)),
    }),
  }
}

/**
 * Stores the contents of the ledger and of Kafka in a temporary SQLite database on disk. So memory
 * does not grow with the number of customers. SQLite deletes the file when the database is closed
 * or the process dies.
 */
export const createEvidence = (): Evidence => {
  const db = new DatabaseSync('')
  db.exec(`PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -${CACHE_KIB}; ${TABLES} BEGIN`)
  return {
    ...createLedgerEvidence(db),
    ...createTopicEvidence(db),
    ...createLookups(db),
    ...createFindings(db),
    close: () => db.close(),
  }
}
