import { type Admin, type Kafka, murmur2 } from '@customer-stream/runtime/kafka'
import { isCluster, mastersOf, type RedisClient } from '@customer-stream/runtime/redis'
import {
  clusterPositionsKeys,
  compareVersions,
  customerKey,
  positionField,
  positionsKey,
  type TopicNames,
  type Version,
} from '@customer-stream/schemas'
import { type LedgerEntry, readLedger } from '@customer-stream/simulator'
import { unlessAborted } from '../brokers/unless-aborted.ts'
import { waitUntil } from '../wait-until.ts'
import { fingerprint, sha256 } from './fingerprint.ts'
import { behindPromise, compareHash, createNewestEvents, type Expected } from './newest-events.ts'
import { fetchEnds, type PartitionEnds, readTopic } from './read-topic.ts'

/** With a ledger: is told of every record and every promise, so that they can be added up. */
export interface Witness {
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
  readonly kafka: Kafka
  readonly admin: Admin
  readonly redis: RedisClient
  readonly topics: TopicNames
  readonly keyPrefix: string
  readonly projection: number
  /** Without a ledger only Redis is held against the topic. */
  readonly ledgerPath?: string
  /** Looks only at events received from this time on, and before that, Unix milliseconds. A customer may then be newer in Redis than the newest seen. */
  readonly sinceMs?: number
  readonly untilMs?: number
  /** Share of the customers to look at, 0 to 1, always the same ones. */
  readonly sample?: number
  /** As the projector has it. */
  readonly maxFutureMs?: number
  /** The load has stopped and the whole topic is read: Redis must then hold nothing newer than it, and no other customers. */
  readonly exact?: boolean
  /** How long the projector may take to reach the end of the topic. */
  readonly catchUpMs?: number
  readonly onProgress?: (step: string) => void
  readonly witness?: Witness
  readonly signal?: AbortSignal
}

export interface Verdict {
  readonly hasLedger: boolean
  /** Lines of the ledger, repeats included, and the distinct events behind them. */
  readonly promises: number
  readonly promisedEvents: number
  /** Promised events that are not in Kafka, byte for byte. */
  readonly missing: readonly LedgerEntry[]
  readonly records: { readonly customers: number; readonly other: number; readonly unusable: number }
  readonly customers: number
  /** How many of these are newer in Redis than the newest event looked at, so that their content could not be compared. */
  readonly newer: number
  /** Customers whose hash is not their newest event's, or older than a promise, and why. */
  readonly wrong: readonly { readonly customerUuid: string; readonly reason: string }[]
}

const REDIS_BATCH = 500

/** How many records lie before the ends that Redis does not hold yet. The least filled copy counts, and what was read beyond an end makes up for nothing. */
export const recordsBehind = (
  ends: readonly Pick<PartitionEnds, 'high'>[],
  copies: readonly (readonly (string | null | undefined)[])[],
): number =>
  ends.reduce((sum, { high }, i) => sum + Math.max(0, ...copies.map((positions) => Number(BigInt(high) - BigInt(positions[i] ?? 0)))), 0)

const waitForProjector = async (options: VerifyOptions, ends: readonly PartitionEnds[]) => {
  const { redis, topics, keyPrefix, projection, catchUpMs = 60_000, signal } = options
  const filled = ends.filter(({ low, high }) => low !== high)
  if (filled.length === 0) return
  const fields = filled.map(({ partition }) => positionField(topics.customers, partition))
  const keys = isCluster(redis) ? clusterPositionsKeys(projection, keyPrefix) : [positionsKey(projection, keyPrefix)]
  const caughtUp = waitUntil(
    'the projector has reached the end of what was read',
    async () => recordsBehind(filled, await Promise.all(keys.map((key) => redis.hmget(key, ...fields)))),
    (behind) => behind === 0,
    { timeoutMs: catchUpMs, pauseMs: 100 },
  )
  await unlessAborted(caughtUp, signal)
}

/** Customers of whom there is a hash, by id. */
const customersInRedis = async (redis: RedisClient, keyPrefix: string): Promise<Set<string>> => {
  const match = customerKey('*', keyPrefix.replace(/[*?[\]\\]/g, '\\$&'))
  const idAt = customerKey('', keyPrefix).length - 1
  const found = new Set<string>()
  for (const master of mastersOf(redis)) {
    let cursor = '0'
    do {
      const [next, keys] = await master.scan(cursor, 'MATCH', match, 'COUNT', 1000)
      for (const key of keys) found.add(key.slice(idAt, -1))
      cursor = next
    } while (cursor !== '0')
  }
  return found
}

const compareRedis = async ({ redis, keyPrefix, exact = false, signal }: VerifyOptions, expected: ReadonlyMap<string, Expected>) => {
  const wrong = new Map<string, string>()
  let newer = 0
  const all = [...expected]
  for (let start = 0; start < all.length; start += REDIS_BATCH) {
    signal?.throwIfAborted()
    const batch = all.slice(start, start + REDIS_BATCH)
    const hashes = await Promise.all(batch.map(([customerUuid]) => redis.hgetall(customerKey(customerUuid, keyPrefix))))
    for (const [i, [customerUuid, wanted]] of batch.entries()) {
      const finding = compareHash(wanted, hashes[i] ?? {})
      if (finding === 'newer') newer += 1
      if (finding === 'newer' && exact) wrong.set(customerUuid, 'is newer in Redis than any event in Kafka')
      if (typeof finding === 'object') wrong.set(customerUuid, finding.wrong)
    }
  }
  if (exact) {
    // A customer that is missing in Redis was found above, so that only those too many are left to be told.
    for (const customerUuid of (await customersInRedis(redis, keyPrefix)).difference(new Set(all.map(([id]) => id.toWellFormed()))))
      wrong.set(customerUuid, 'is not in Kafka')
  }
  return { wrong, newer }
}

/**
 * The judge: every promise is in Kafka, and every customer's hash is its newest event's, in full content. Read-only.
 *
 * Traffic may go on: the ledger is read before it is known where the topics end, so that all it promises lies before the ends; and Redis is compared
 * once it has been filled to those same ends.
 * @throws when the projector does not reach them in time.
 */
export const verify = async (options: VerifyOptions): Promise<Verdict> => {
  const { kafka, admin, topics, witness, onProgress = () => {} } = options
  const { ledgerPath, sinceMs, untilMs = Number.POSITIVE_INFINITY, sample = 1, maxFutureMs, signal } = options
  let promises = 0
  const promised = new Set<string>()
  const missing = new Map<string, LedgerEntry>()
  const newestPromised = new Map<string, Version>()
  if (ledgerPath !== undefined) {
    onProgress('reading the ledger')
    for await (const entry of readLedger(ledgerPath)) {
      signal?.throwIfAborted()
      promises += 1
      const print = fingerprint(entry.customerUuid, entry.sha256)
      promised.add(print)
      missing.set(print, entry)
      witness?.promise(print)
      const { customerUuid } = entry
      if (customerUuid === null) continue
      const newest = newestPromised.get(customerUuid)
      if (newest === undefined || compareVersions(entry, newest) > 0) newestPromised.set(customerUuid, entry)
    }
  }

  onProgress('reading Kafka')
  const newest = createNewestEvents(maxFutureMs)
  const isSampled = (key: Buffer | null) => sample >= 1 || ((key === null ? 0 : murmur2(key)) >>> 0) / 2 ** 32 < sample
  const records = { customers: 0, other: 0, unusable: 0 }
  const ends = await unlessAborted(fetchEnds(admin, topics.customers), signal)
  const interruptible = signal && { signal }
  const reading = {
    ...interruptible,
    ends,
    ...(sinceMs !== undefined && { sinceMs }),
    onProgress: (read: number, total: number) => onProgress(`read ${read} of ${total} records`),
  }
  await readTopic(
    kafka,
    admin,
    topics.customers,
    ({ key, value, timestamp, offset }, partition) => {
      const receivedAt = Number(timestamp)
      if (receivedAt >= untilMs || receivedAt < (sinceMs ?? 0) || !isSampled(key)) return
      records.customers += 1
      const usable = newest.add(value, receivedAt)
      if (!usable) records.unusable += 1
      if (ledgerPath === undefined) return
      const print = fingerprint(key?.toString() ?? null, sha256(value ?? ''))
      missing.delete(print)
      witness?.record({ topic: topics.customers, partition, offset, fingerprint: print, usable })
    },
    reading,
  )
  if (ledgerPath !== undefined) {
    await readTopic(
      kafka,
      admin,
      topics.other,
      ({ value, offset }, partition) => {
        records.other += 1
        const print = fingerprint(null, sha256(value ?? ''))
        missing.delete(print)
        witness?.record({ topic: topics.other, partition, offset, fingerprint: print, usable: true })
      },
      interruptible,
    )
  }

  onProgress('waiting for the projector')
  await waitForProjector(options, ends)
  onProgress('comparing Redis')
  const { wrong, newer } = await compareRedis(options, newest.expected)
  for (const customerUuid of behindPromise(newestPromised, newest.expected))
    wrong.set(customerUuid, 'was promised something newer than any usable event in Kafka')
  return {
    hasLedger: ledgerPath !== undefined,
    promises,
    promisedEvents: promised.size,
    missing: [...missing.values()],
    records,
    customers: newest.expected.size,
    newer,
    wrong: [...wrong].map(([customerUuid, reason]) => ({ customerUuid, reason })),
  }
}
