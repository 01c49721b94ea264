import { unlessAborted } from '@customer-stream/runtime'
import {
  attributed,
  fetchSettledEnds,
  fetchUncommittedEnds,
  type OpenTransaction,
  type PartitionEnds,
  type ReadOptions,
  readTopic,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { erasedKey, MAX_FUTURE_MS, QUARANTINE_HEADERS, RAW_HEADERS, type TopicNames } from '@customer-stream/schemas'
import { murmur2 } from '@customer-stream/schemas/partitioner'
import { compareHash, type ReadRange, readSource } from './compare-hash.ts'
import { compareState, noteState } from './compare-state.ts'
import { compareWithoutEvents } from './compare-without-events.ts'
import { customersInRedis, readHash } from './customers-in-redis.ts'
import { compareErasedHash, compareErasedState, compareMark, noteErasure } from './erasures.ts'
import { createEvidence, type Evidence } from './evidence.ts'
import { fingerprint, sha256 } from './fingerprint.ts'
import { readLedger } from './ledger.ts'
import { readEvent } from './read-event.ts'
import type { Repairable } from './repair.ts'
import { waitForErasures, waitForEvents } from './wait-for-projector.ts'

/**
 * Called with every record and every ledger entry, so that the fault suite can count them. Called
 * only if there is a ledger.
 */
export interface Observer {
  record(seen: {
    readonly topic: string
    readonly partition: number
    readonly offset: string
    readonly fingerprint: string
    readonly usable: boolean
  }): void
  promise(fingerprint: string): void
}

export interface VerifyOptions {
  readonly admin: TopicAdmin
  readonly redis: RedisClient
  readonly topics: TopicNames
  /** If undefined, the state topic is not compared. */
  readonly stateTopic?: string | undefined
  /** True to compare the indexes with all hashes. Default: false. */
  readonly withIndexes?: boolean
  /** If undefined, no customer is expected to be erased. */
  readonly erasuresTopic?: string | undefined
  readonly keyPrefix: string
  readonly projection: number
  /** Path of the ledger. If undefined, no acknowledged events are looked for in Kafka. */
  readonly ledgerPath?: string
  /**
   * Selects the customers with an event that was received at `sinceMs` or later, and before
   * `untilMs`. Times are Unix milliseconds.
   */
  readonly sinceMs?: number
  readonly untilMs?: number
  /**
   * Share of the customers to compare, 0 to 1. The same share always selects the same customers.
   */
  readonly sample?: number
  /** The projector's setting MAX_FUTURE_MS. */
  readonly maxFutureMs?: number
  /**
   * True if the load has stopped and the whole topic is read. Redis must then have no hash that is
   * newer than Kafka's events, and no customer that is not in Kafka.
   */
  readonly exact?: boolean
  /** Maximum wait for the projector, and maximum wait for open transactions. */
  readonly catchUpMs?: number
  readonly onProgress?: (step: string) => void
  readonly observer?: Observer
  readonly signal?: AbortSignal
}

export interface Verdict {
  readonly hasLedger: boolean
  /** Lines of the ledger, including repeats. */
  readonly promises: number
  /** Distinct events in the ledger. */
  readonly promisedEvents: number
  /** Promised events that are not in Kafka with the same bytes. At most {@link MAX_NAMED}. */
  readonly missing: readonly { readonly id: string; readonly customerUuid: string | null }[]
  readonly missingCount: number
  readonly records: {
    readonly customers: number
    readonly other: number
    readonly unusable: number
    readonly quarantined: number
    /** Undefined if the state topic was not compared. */
    readonly state?: number
    /** Undefined if the erasures topic was not read. */
    readonly erasures?: number
    /** Entries of all indexes. Undefined if the indexes were not compared. */
    readonly indexEntries?: number
  }
  readonly unusableByReason: Readonly<Record<string, number>>
  /**
   * Unusable records without a copy in quarantine, except records so old that retention may have
   * deleted the copy. `places` has some of these records as `topic/partition/offset`.
   */
  readonly notQuarantined: { readonly count: number; readonly places: readonly string[] }
  /**
   * Batches that cannot be read, in all topics except the customers topic. `places` has some of
   * these batches as `topic/partition/offset`. Such a batch alone is not a problem. If it has the
   * newest document of a customer, the customer counts as wrong.
   */
  readonly unreadable: { readonly count: number; readonly places: readonly string[] }
  /** Open transactions, which hide records from readers of committed records. */
  readonly openTransactions: readonly OpenTransaction[]
  /** Selected customers, erased customers included. */
  readonly customers: number
  /**
   * Customers whose events in Kafka are all erased. `all` counts all of them. `selected` counts the
   * customers with an event in the time range and sample. `wrong` counts the customers that are
   * still in Redis or in the state topic.
   */
  readonly erased: { readonly all: number; readonly selected: number; readonly wrong: number }
  /**
   * Customers whose hash comes from a record that was not read. Only the version of these hashes
   * was compared.
   */
  readonly newer: number
  /**
   * Customers whose hash or state document differs from their newest event. Also includes a
   * customer with a promised event if Kafka has no event of the customer, or only older events. At
   * most {@link MAX_NAMED}.
   */
  readonly wrong: readonly { readonly customerUuid: string; readonly reason: string }[]
  readonly wrongCount: number
  /** Wrong customers that {@link repair} can repair. At most {@link MAX_NAMED}. */
  readonly repairable: readonly Repairable[]
  readonly repairableCount: number
}

/**
 * Maximum length of a list of ids. The list must fit into memory, and no person reads a longer
 * list.
 */
export const MAX_NAMED = 10_000

/**
 * Number of customers that are read from Redis at the same time. The number is small, because a
 * hash may have some megabytes.
 */
const REDIS_BATCH = 100

const readLedgerInto = async (evidence: Evidence, ledgerPath: string, { observer, signal }: VerifyOptions) => {
  for await (const entry of readLedger(ledgerPath)) {
    signal?.throwIfAborted()
    const print = fingerprint(entry.customerUuid, entry.sha256)
    evidence.promise(print, entry)
    observer?.promise(print)
  }
}

/**
 * Reads the customers topic.
 * @returns the number of selected records, and the range of each partition that was read.
 */
const readCustomers = async (evidence: Evidence, options: VerifyOptions, ends: readonly PartitionEnds[]) => {
  const { admin, topics, observer, onProgress, ledgerPath, sinceMs, signal } = options
  const { untilMs = Number.POSITIVE_INFINITY, sample = 1, maxFutureMs = MAX_FUTURE_MS } = options
  const isSampled = (key: Buffer | null) => sample >= 1 || ((key === null ? 0 : murmur2(key)) >>> 0) / 2 ** 32 < sample
  let records = 0
  const { starts } = await readTopic(
    admin,
    topics.customers,
    ({ key, value, timestamp, offset, headers }, partition) => {
      if (!isSampled(key)) return
      const receivedAt = Number(timestamp)
      const isAskedFor = receivedAt >= (sinceMs ?? 0) && receivedAt < untilMs
      if (isAskedFor) records += 1
      const contentType = headers?.[RAW_HEADERS.contentType]?.toString()
      const reading = readEvent(value, { key, receivedAt, maxFutureMs, contentType })
      const place = `${partition}/${offset}`
      if (reading.usable) evidence.event(reading.event, place, receivedAt, isAskedFor)
      else if (isAskedFor)
        evidence.unusable({
          place: `${topics.customers}/${place}`,
          reason: reading.reason,
          receivedAt,
          digest: digestOf(value),
          supersedable: reading.supersedable,
        })
      if (ledgerPath === undefined) return
      const print = fingerprint(key?.toString() ?? null, sha256(value ?? ''))
      evidence.found(print)
      observer?.record({ topic: topics.customers, partition, offset, fingerprint: print, usable: reading.usable })
    },
    {
      ends,
      ...(signal && { signal }),
      ...(sinceMs !== undefined && { sinceMs }),
      onProgress: (read, total) => onProgress?.(`read ${read} of ${total} records`),
      // The bytes of this batch are unknown, so quarantine has a record without a value. The time
      // of receipt is unknown too. Use the current time. Otherwise a missing record would look like
      // a record that retention has deleted.
      onUnreadable: ({ offset }, partition) =>
        evidence.unusable({
          place: `${topics.customers}/${partition}/${offset}`,
          reason: 'unreadable',
          receivedAt: Date.now(),
          digest: digestOf(null),
        }),
    },
  )
  const ranges = new Map<number, ReadRange>()
  for (const { partition, high } of ends)
    ranges.set(partition, { start: starts.get(partition) ?? 0n, end: BigInt(high) })
  return { records, ranges }
}

/** Options to read a topic up to its ends. The reading skips each batch that cannot be read. */
interface Range extends ReadOptions {
  readonly ends: readonly PartitionEnds[]
}

/** Creates the ranges of several topics, and collects the batches in them that cannot be read. */
const createRanges = (signal: AbortSignal | undefined) => {
  const unreadable = { count: 0, places: [] as string[] }
  const upTo = (topic: string, ends: readonly PartitionEnds[]): Range => ({
    ends,
    onUnreadable: ({ offset }, partition) => {
      unreadable.count += 1
      if (unreadable.places.length < MAX_NAMED) unreadable.places.push(`${topic}/${partition}/${offset}`)
    },
    ...(signal && { signal }),
  })
  return { unreadable, upTo }
}

const readOther = async (evidence: Evidence, { admin, topics, observer }: VerifyOptions, range: Range) => {
  const { records } = await readTopic(
    admin,
    topics.other,
    ({ value, offset }, partition) => {
      const print = fingerprint(null, sha256(value ?? ''))
      evidence.found(print)
      observer?.record({ topic: topics.other, partition, offset, fingerprint: print, usable: true })
    },
    range,
  )
  return records
}

const digestOf = (value: Buffer | null): Uint8Array => Buffer.from(sha256(value ?? ''), 'hex')

/**
 * Returns the earliest time of receipt, in Unix milliseconds, whose quarantined records still
 * exist. The retention of quarantine and of the raw topics may differ.
 * @returns 0 if quarantine has not deleted any record yet, or if its retention is unlimited.
 */
export const quarantineReachesBackTo = async (
  admin: TopicAdmin,
  topic: string,
  ends: readonly PartitionEnds[],
): Promise<number> => {
  if (ends.every(({ low }) => low === '0')) return 0
  const config = await attributed(`read the settings of topic ${topic}`, () =>
    admin.describeTopicConfig(topic, ['retention.ms']),
  )
  const retentionMs = Number(config.get('retention.ms') ?? -1)
  return retentionMs < 0 ? 0 : Date.now() - retentionMs
}

/**
 * Reads quarantine (the dead-letter topic). Must run after the wait for the projector. Quarantine
 * is then complete, because the projector writes to it before its position moves.
 */
const readQuarantine = async (evidence: Evidence, { admin, topics }: VerifyOptions, range: Range) => {
  const { records } = await readTopic(
    admin,
    topics.quarantine,
    ({ value, headers = {} }) => {
      const [topic, partition, offset] = ['topic', 'partition', 'offset'].map((name) =>
        String(headers[QUARANTINE_HEADERS[name as 'topic' | 'partition' | 'offset']] ?? ''),
      )
      // Records that the ingress wrote to quarantine name no offset.
      if (offset !== '') evidence.quarantined(`${topic}/${partition}/${offset}`, value && digestOf(value))
    },
    range,
  )
  return { records, reachesBackTo: await quarantineReachesBackTo(admin, topics.quarantine, range.ends) }
}

/** Reads the current end offset of each partition. */
const readEnds = async (admin: TopicAdmin, topic: string): Promise<Map<number, bigint>> =>
  new Map((await fetchUncommittedEnds(admin, topic)).map(({ partition, high }) => [partition, BigInt(high)]))

const compareRedis = async (
  evidence: Evidence,
  options: VerifyOptions,
  ranges: ReadonlyMap<number, ReadRange>,
): Promise<number> => {
  const { admin, redis, topics, keyPrefix, projection, exact = false, maxFutureMs = MAX_FUTURE_MS, signal } = options
  const topic = topics.customers
  let endsNow = new Map([...ranges].map(([partition, { end }]) => [partition, end]))
  const endNow = (partition: number) => endsNow.get(partition) ?? 0n
  let newer = 0
  for (const batch of evidence.expected(REDIS_BATCH)) {
    signal?.throwIfAborted()
    const hashes = await Promise.all(batch.map(({ customerUuid }) => readHash(redis, customerUuid, keyPrefix)))
    // A hash may come from a record that arrived after the topic was read, so fetch the ends again.
    const sources = hashes.map(({ _source }) => readSource(_source, topic))
    if (sources.some((source) => source && source.offset >= endNow(source.partition)))
      endsNow = await readEnds(admin, topic)
    const comparison = { evidence, topic, ranges, endNow, projection, maxFutureMs, now: Date.now() }
    for (const [i, expected] of batch.entries()) {
      if (evidence.isErased(expected)) continue
      const finding = compareHash(expected, hashes[i] ?? {}, comparison)
      if (finding === 'newer') newer += 1
      if (finding === 'newer' && exact)
        evidence.wrong(expected.customerUuid, 'is newer in Redis than any event in Kafka')
      if (typeof finding === 'object') evidence.wrong(expected.customerUuid, finding.wrong)
    }
  }
  for (const { customerUuid, upTo } of evidence.erased()) {
    signal?.throwIfAborted()
    const [hash, mark] = await Promise.all([
      readHash(redis, customerUuid, keyPrefix),
      redis.hmget(erasedKey(customerUuid, keyPrefix), 'scope', 'erasedAt'),
    ])
    const reason = compareErasedHash(hash, upTo, exact) ?? compareMark(mark, upTo, exact)
    if (reason !== undefined) evidence.wrong(customerUuid, reason)
  }
  if (exact) {
    for await (const customerUuid of customersInRedis(redis, keyPrefix))
      if (!evidence.isKnown(customerUuid)) evidence.wrong(customerUuid, 'is not in Kafka')
  }
  return newer
}

/**
 * Reads the state topic and compares it with the records of the raw topic. Must run after the wait
 * for the projector. The state topic is then complete, because the projector publishes to it before
 * its position moves.
 */
const compareStates = async (
  evidence: Evidence,
  { admin, topics, exact = false, signal }: VerifyOptions,
  stateTopic: string,
  range: Range,
  ranges: ReadonlyMap<number, ReadRange>,
): Promise<number> => {
  const note = ({ key, value }: { key: Buffer | null; value: Buffer | null }, partition: number) =>
    noteState(evidence, { key, value, partition }, range.ends.length)
  const { records } = await readTopic(admin, stateTopic, note, range)
  const endsNow = await readEnds(admin, topics.customers)
  const endNow = (partition: number) => endsNow.get(partition) ?? 0n
  const comparison = { topic: topics.customers, ranges, endNow, exact }
  for (const batch of evidence.expected(REDIS_BATCH)) {
    signal?.throwIfAborted()
    for (const expected of batch) {
      if (evidence.isErased(expected)) continue
      const reason = compareState(expected, evidence, comparison)
      if (reason !== undefined) evidence.wrong(expected.customerUuid, reason)
    }
  }
  for (const { customerUuid, upTo } of evidence.erased()) {
    const reason = compareErasedState(evidence.lastState(customerUuid), upTo, exact)
    if (reason !== undefined) evidence.wrong(customerUuid, reason)
  }
  if (exact)
    for (const customerUuid of evidence.unknownStates()) evidence.wrong(customerUuid, 'is in the state topic only')
  return records
}

/** Reads the erasures topic, and waits until the projector has executed these erasures. */
const readErasures = async (evidence: Evidence, options: VerifyOptions, topic: string) => {
  const { admin, catchUpMs = 60_000, signal } = options
  const { ends, open } = await unlessAborted(fetchSettledEnds(admin, topic, catchUpMs), signal)
  const { records } = await readTopic(admin, topic, (record) => noteErasure(evidence, record), {
    ends,
    ...(signal && { signal }),
  })
  await waitForErasures(options, ends)
  return { records, open }
}

/**
 * Compares the customers without an event in the raw topic. Does nothing if only a part of the raw
 * topic was read. With `exact`, the other comparisons name these customers.
 */
const compareRest = async (evidence: Evidence, options: VerifyOptions, ranges: ReadonlyMap<number, ReadRange>) => {
  const { admin, topics, sinceMs, untilMs, sample = 1, exact = false } = options
  if (sinceMs !== undefined || untilMs !== undefined || sample < 1 || exact) return
  await compareWithoutEvents({ ...options, evidence, ranges, readEnds: () => readEnds(admin, topics.customers) })
}

/** Returns the part of the verdict that the evidence has after all comparisons. */
const countsOf = (evidence: Evidence) => ({
  promises: evidence.count('promises'),
  promisedEvents: evidence.count('promisedEvents'),
  missing: evidence.missing(MAX_NAMED),
  missingCount: evidence.count('missing'),
  unusableByReason: evidence.unusableByReason(),
  customers: evidence.count('customers'),
  erased: {
    all: evidence.count('erased'),
    selected: evidence.count('erasedAndSelected'),
    wrong: evidence.count('erasedAndWrong'),
  },
  wrong: evidence.wrongs(MAX_NAMED),
  wrongCount: evidence.count('wrong'),
  repairable: evidence.repairable(MAX_NAMED),
  repairableCount: evidence.count('repairable'),
})

/**
 * Verifies that Kafka has every promised event, and that quarantine has every unusable record.
 * Verifies that each field of every customer's hash has the value of the newest event. Read-only.
 * Memory does not grow with the number of customers.
 *
 * Events may arrive during the verification. The ledger is read before the ends of the topics are
 * fetched. So Kafka has the ledger's events before these ends, unless a spool still has the events.
 * Redis is compared after the projector has reached the same ends.
 * @throws if the projector does not reach the ends in time.
 */
export const verify = async (options: VerifyOptions): Promise<Verdict> => {
  const { admin, topics, onProgress = () => {}, ledgerPath, catchUpMs = 60_000, signal } = options
  const evidence = createEvidence()
  try {
    if (ledgerPath !== undefined) {
      onProgress('reading the ledger')
      await readLedgerInto(evidence, ledgerPath, options)
    }
    onProgress('reading Kafka')
    const settled = (topic: string) => unlessAborted(fetchSettledEnds(admin, topic, catchUpMs), signal)
    const { unreadable, upTo } = createRanges(signal)
    const [customers, other] = await Promise.all([
      settled(topics.customers),
      ledgerPath === undefined ? undefined : settled(topics.other),
    ])
    const { records, ranges } = await readCustomers(evidence, options, customers.ends)
    const otherRecords = other ? await readOther(evidence, options, upTo(topics.other, other.ends)) : 0

    onProgress('waiting for the projector')
    await waitForEvents(options, customers.ends)
    let erasures: Awaited<ReturnType<typeof readErasures>> | undefined
    if (options.erasuresTopic !== undefined) {
      onProgress('reading the erasures')
      erasures = await readErasures(evidence, options, options.erasuresTopic)
    }
    onProgress('reading quarantine')
    const quarantine = await settled(topics.quarantine)
    const quarantined = await readQuarantine(evidence, options, upTo(topics.quarantine, quarantine.ends))
    onProgress('comparing Redis')
    const newer = await compareRedis(evidence, options, ranges)
    let indexEntries: number | undefined
    if (options.withIndexes) {
      onProgress('comparing the indexes')
      const onWrong = evidence.wrongEntry
      const { redis, keyPrefix, projection } = options
      // Only this comparison needs the rules of phone numbers, which load slowly.
      const { compareIndexes } = await import('./compare-indexes.ts')
      indexEntries = await compareIndexes({ redis, keyPrefix, projection, topic: topics.customers, onWrong, signal })
    }
    let state: { readonly records: number; readonly open: readonly OpenTransaction[] } | undefined
    if (options.stateTopic !== undefined) {
      onProgress('comparing the state topic')
      const { ends, open } = await settled(options.stateTopic)
      const range = upTo(options.stateTopic, ends)
      state = { records: await compareStates(evidence, options, options.stateTopic, range, ranges), open }
      await compareRest(evidence, options, ranges)
    }
    evidence.comparePromises('has an acknowledged event that is newer than any usable event in Kafka')
    return {
      ...countsOf(evidence),
      hasLedger: ledgerPath !== undefined,
      records: {
        customers: records,
        other: otherRecords,
        unusable: evidence.count('unusable'),
        quarantined: quarantined.records,
        ...(state && { state: state.records }),
        ...(erasures && { erasures: erasures.records }),
        ...(indexEntries !== undefined && { indexEntries }),
      },
      notQuarantined: evidence.notQuarantined(quarantined.reachesBackTo),
      unreadable,
      openTransactions: [customers, other, erasures, quarantine, state].flatMap((read) => read?.open ?? []),
      newer,
    }
  } finally {
    evidence.close()
  }
}
