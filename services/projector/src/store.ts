import { randomUUID } from 'node:crypto'
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import {
  type CustomerHash,
  compareVersions,
  customerKey,
  type ErasureRecord,
  erasedKey,
  indexKey,
  META,
  type ProjectorReport,
} from '@customer-stream/schemas'
import { type Chain, createIndexes, type IndexedCustomer, type IndexUpdate, textOf } from './indexes.ts'
import { all, createPositionHash, type StoreOptions, script } from './position-hash.ts'
import {
  createPositionStore,
  LostChunkError,
  type MoveOptions,
  type PositionStore,
  windowText,
} from './position-store.ts'
import { saveReport } from './report-store.ts'

/** Result of storing the newest event of one customer. */
export type StoreOutcome = 'applied' | 'duplicate' | 'stale' | 'erased'

export interface AppliedChunk {
  readonly moved: boolean
  readonly stored: readonly StoreOutcome[]
}

/** A chunk that is written although its position has not moved yet. */
export interface WrittenChunk {
  /**
   * False if the stored position was not the expected position. If the chunk needs several calls,
   * some of these calls may have written their customers.
   */
  readonly isInPlace: boolean
  readonly stored: readonly StoreOutcome[]
  /** Token that is stored beside the position, until another chunk replaces this token. */
  readonly token: string
}

export interface ChunkOptions extends MoveOptions {
  /**
   * Oldest offset of the partition in Kafka. A rebuild does not replace a newer hash whose record
   * is before this offset, because Kafka no longer has this record.
   */
  readonly oldest?: string | undefined
}

export interface AppliedStates {
  /** The customers that are not erased. */
  readonly stored: readonly CustomerHash[]
  /** The customers whose newer hash Redis keeps only because of `keepsNewer`. */
  readonly kept: readonly CustomerHash[]
  /** The customers whose entries in indexes were updated. */
  readonly indexUpdates: readonly IndexUpdate[]
  /** On a single Redis: token that the last call has stored beside the progress of the fill. */
  readonly token: string
}

/** An erasure with the offset of its record. */
export interface PlacedErasure extends ErasureRecord {
  readonly offset: string
}

export interface Store extends PositionStore {
  /**
   * Writes each customer whose event is newer than the stored event, then moves the position from
   * `from` to `to`. If Redis fails over or is restored in between, the position does not move.
   * @param customers at most one snapshot of each customer.
   * @returns the outcome of each customer, and whether the position is `to` now.
   */
  applyChunk(
    customers: readonly IndexedCustomer[],
    partition: number,
    from: string | undefined,
    to: string,
    options?: ChunkOptions,
  ): Promise<AppliedChunk>
  /**
   * Writes a chunk whose documents will be published, but does not move the position. After their
   * publication, `moveAfter` moves the position, if no other process has written a chunk of this
   * partition in between. While the partition is being filled, nothing is written (`isInPlace` is
   * false), because Redis lacks hashes to compare with.
   */
  writeChunk(
    customers: readonly IndexedCustomer[],
    partition: number,
    from: string | undefined,
    to: string,
    options?: Pick<ChunkOptions, 'oldest'>,
  ): Promise<WrittenChunk>
  /**
   * Erases customers. Does not move the position, but replaces its token, as a chunk does. So a
   * chunk that is being written at the same time fails. `moveAfter` then stores the position in the
   * erasures topic.
   * @param topicId id of the erasures topic.
   * @returns `erased`, or `stale` if the hash is kept. A hash is kept if its event is newer than an
   *   erasure `until-now`, or if a later erasure of the customer was executed.
   */
  writeErasures(
    erasures: readonly PlacedErasure[],
    partition: number,
    position: string,
    topicId: string,
  ): Promise<WrittenChunk>
  /**
   * Writes each customer of a fill whose event is newer than the stored event. Moves no position.
   * @param fill `keepsNewer`: keep the newer hashes of a lower projection. `progress`: the
   *   progress that the caller expects in Redis. On a single Redis, nothing is written if Redis has
   *   another progress.
   */
  applyStates(
    customers: readonly IndexedCustomer[],
    partition: number,
    fill: {
      readonly progress: string
      readonly rawFrom: string
      readonly isComplete: boolean
      readonly keepsNewer: boolean
    },
  ): Promise<AppliedStates>
  /** Deletes a customer whose event was received at `erasedAt` (Unix milliseconds) or before. */
  deleteErased(customerUuid: string, erasedAt: number): Promise<void>
  /** Announces to other projectors that this instance uses this Redis. Valid for a minute. */
  announce(instance: string): Promise<void>
  /** Stores the counters of this instance for readers. */
  saveReport(instance: string, report: ProjectorReport): Promise<void>
  /** Returns the given instances that use this Redis. */
  announced(instances: readonly string[]): Promise<ReadonlySet<string>>
  ping(): Promise<void>
}

/** Reply of apply-snapshots.lua for a customer whose newer hash was kept because of ARGV[5]. */
const KEPT = 4
const outcomes = new Map<number, StoreOutcome>([
  [1, 'applied'],
  [0, 'duplicate'],
  [-1, 'stale'],
  [2, 'erased'],
  [KEPT, 'stale'],
])
/** First element of the reply of apply-snapshots.lua if it has moved the position. */
const MOVED = 2
/** First element of this reply if the call must be repeated with the keys of the marks. */
const NEEDS_MARK = 3

export interface Rights {
  /** Commands that Redis denies on the projector's keys. Empty if Redis denies no command. */
  deniedCommands(): Promise<string[]>
}

const ANNOUNCEMENT_MS = 60_000

/**
 * Maximum customers of a call. Redis does nothing else during a call, which takes 250 customers ×
 * about 20 µs = 5 ms.
 */
const CUSTOMERS_PER_CALL = 250
/**
 * Maximum entries of a customer that apply-snapshots.lua adds to indexes. The entries of a
 * call take at most 250 customers × 16 entries × about 2 µs = 8 ms. The entries of a customer with
 * more terms are added by separate calls.
 */
const MAX_ENTRIES_AT_ONCE = 16
/**
 * Maximum fields and values of a part of a fill: 250 customers of usual size. Documents in a
 * compressed batch can be hundreds of times larger than the fetch. Redis closes the connection if a
 * call has more than 1,048,576 arguments, and the fill would then never end.
 */
const VALUES_PER_CALL = 25_000

/** Result of a call of apply-snapshots.lua. */
interface AppliedCall extends Pick<WrittenChunk, 'isInPlace' | 'stored'>, Pick<AppliedStates, 'kept' | 'indexUpdates'> {
  /** True if the call has moved the position. */
  readonly hasMoved: boolean
}

/**
 * @param texts pairs: number (from 1) of a customer whose entries must be updated, and its field
 *   `_index`.
 * @param mayAddEntries true if the entry in the dealer's index was added.
 */
const indexUpdatesOf = (
  customers: readonly IndexedCustomer[],
  stored: readonly StoreOutcome[],
  texts: readonly (number | string)[],
  mayAddEntries: (customer: IndexedCustomer) => boolean,
): IndexUpdate[] => {
  const indexOf = new Map<number, string>()
  for (let i = 0; i < texts.length; i += 2) indexOf.set(Number(texts[i]) - 1, String(texts[i + 1]))
  return customers.flatMap((customer, i) => {
    const index = indexOf.get(i)
    const isCurrent = stored[i] === 'applied' || stored[i] === 'duplicate'
    const needsDealer = stored[i] === 'applied' && !mayAddEntries(customer)
    return index !== undefined || needsDealer ? [{ customer, isCurrent, index }] : []
  })
}

/** Splits customers, in order, into parts of limited size. */
const partsOf = (customers: readonly IndexedCustomer[]): IndexedCustomer[][] => {
  const parts: IndexedCustomer[][] = []
  let valuesLeft = 0
  for (const customer of customers) {
    const values = customer.fieldsAndValues.length
    const isFull = parts.at(-1)?.length === CUSTOMERS_PER_CALL || values > valuesLeft
    if (parts.length === 0 || isFull) {
      parts.push([])
      valuesLeft = VALUES_PER_CALL
    }
    parts.at(-1)?.push(customer)
    valuesLeft -= values
  }
  return parts
}

type Scripts = RedisClient & {
  checkRights(key: string, kind: 'hash' | 'index'): Promise<string[]>
  applySnapshots(
    keyCount: number,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<(number | string)[]>
  eraseCustomer(
    ...args: [key: string, mark: string, scope: string, erasedAt: number, partition: string, offset: string]
  ): Promise<[outcome: number, index: string, kept: string]>
  deleteErased(key: string, mark: string, erasedAt: number): Promise<[limit: string, index: string, kept: string]>
}

/**
 * @throws LostChunkError if Redis lacks one of these customers, has an older version of it, or has
 *   the same version of a lower projection.
 */
export const assertStored = async (
  redis: RedisClient,
  customers: readonly IndexedCustomer[],
  { keyPrefix, projection }: Pick<StoreOptions, 'keyPrefix' | 'projection'>,
): Promise<void> => {
  const found = await all(
    customers.map(({ customerUuid }) =>
      redis.hmget(customerKey(customerUuid, keyPrefix), META.eventTimestamp, META.eventId, META.projection),
    ),
  )
  for (const [i, [timestamp, id, stored]] of found.entries()) {
    const { version } = customers[i] as CustomerHash
    const order = compareVersions({ timestamp: Number(timestamp), id: id ?? '' }, version)
    const isOldLayout = order === 0 && Number(stored ?? 0) < projection
    if (!timestamp || !id || order < 0 || isOldLayout) throw new LostChunkError()
  }
}

/** The position that a call of apply-snapshots.lua checks. */
interface PositionCall extends Pick<MoveOptions, 'window' | 'stateTopicId'> {
  readonly from: string | undefined
  /** Token that must be stored. */
  readonly requiredToken: string
  /** Token to store. */
  readonly newToken: string
  /** True if nothing may be written while the partition is being filled from the state topic. */
  readonly waitsForFill?: boolean
  /** True if the call moves the position, unless entries must be updated first. */
  readonly isWholeChunk?: boolean
}

/** Returns arguments 7 to 15 of apply-snapshots.lua. */
const positionArguments = (field: string, call: PositionCall, keyPrefix: string): string[] => {
  const { from = '', requiredToken, newToken, window, stateTopicId = '', waitsForFill, isWholeChunk } = call
  const flags = [waitsForFill, isWholeChunk].map((flag) => (flag ? '1' : ''))
  return [field, from, requiredToken, newToken, windowText(window), stateTopicId, ...flags, `${keyPrefix}index:`]
}

type Write = (
  customers: readonly IndexedCustomer[],
  partition: number,
  from: string | undefined,
  to: string,
  options: Pick<ChunkOptions, 'oldest' | 'window' | 'stateTopicId'> & { readonly isPublished: boolean },
) => Promise<WrittenChunk & { readonly hasMoved?: boolean }>

/**
 * Creates the store, which reads and writes hashes and positions in Redis. A method that rejects
 * may be called again with the same arguments.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one entry for each use of Redis
export const createStore = (client: RedisClient, options: StoreOptions): Store & Rights => {
  client.defineCommand('applySnapshots', { lua: script('apply-snapshots') })
  client.defineCommand('eraseCustomer', { lua: script('erase-customer'), numberOfKeys: 2 })
  client.defineCommand('deleteErased', { lua: script('delete-erased'), numberOfKeys: 2 })
  client.defineCommand('checkRights', { lua: script('check-rights'), numberOfKeys: 1 })
  const redis = client as Scripts
  const { keyPrefix, projection } = options
  const clustered = isCluster(client)
  const { copies, fields } = createPositionHash(client, options)
  const positionStore = createPositionStore(client, options)
  const indexes = createIndexes(client, keyPrefix)
  const memberKeyPrefix = `${keyPrefix}positions:member:`
  /**
   * Returns true if the call that applies the customer may add its entries. On Redis Cluster the
   * entries are in other slots.
   */
  const mayAddEntries = ({ terms = [] }: IndexedCustomer) => !clustered && terms.length <= MAX_ENTRIES_AT_ONCE

  /**
   * Calls apply-snapshots.lua.
   * @param place arguments 2 to 5 of the script.
   * @param position arguments 7 to 15 of the script. Default: only argument 7, for a call that does
   *   not use positions.
   * @param withMarks false on Redis Cluster until the script asks for the keys of the marks.
   *   Otherwise a call with two keys would fail while a slot moves (TRYAGAIN).
   */
  const applyAtOnce = async (
    customers: readonly IndexedCustomer[],
    place: readonly string[],
    position: readonly string[] = [''],
    withMarks = !clustered,
  ): Promise<AppliedCall> => {
    const [positions = ''] = copies
    const keys = customers.map(({ customerUuid }) => customerKey(customerUuid, keyPrefix))
    if (withMarks) for (const { customerUuid } of customers) keys.push(erasedKey(customerUuid, keyPrefix))
    if (position.length > 1) keys.push(positions)
    const args: (string | number)[] = [projection, ...place, customers.length, ...position]
    for (const customer of customers) {
      const { customerUuid, version, terms, fieldsAndValues } = customer
      args.push(version.timestamp, version.id, customerUuid, textOf(terms))
      args.push(mayAddEntries(customer) ? '1' : '', fieldsAndValues.length)
      for (const part of fieldsAndValues) args.push(part)
    }
    const [state, ...replies] = await redis.applySnapshots(keys.length, keys, args)
    if (state === 0) return { isInPlace: false, hasMoved: false, stored: [], kept: [], indexUpdates: [] }
    if (state === -1) throw new LostChunkError()
    if (replies.slice(0, customers.length).includes(NEEDS_MARK)) return applyAtOnce(customers, place, position, true)
    const stored = customers.map((_, i) => {
      const outcome = outcomes.get(Number(replies[i] ?? Number.NaN))
      // An unknown reply must not count as success. Otherwise the position would move past an event
      // that is not stored.
      if (outcome === undefined) throw new Error(`apply-snapshots.lua replied ${String(replies[i])}`)
      return outcome
    })
    if (state !== 1 && state !== MOVED) throw new Error(`apply-snapshots.lua replied ${String(state)}`)
    const kept = customers.filter((_, i) => replies[i] === KEPT)
    const indexUpdates = indexUpdatesOf(customers, stored, replies.slice(customers.length), mayAddEntries)
    return { isInPlace: true, hasMoved: state === MOVED, stored, kept, indexUpdates }
  }

  const chainOf = (partition: number, token: string, field = fields(partition).token): Chain => ({
    key: copies[0] ?? '',
    field,
    token,
  })

  /**
   * Writes a chunk in several calls, then the remaining entries in indexes. Each call stores a
   * token beside the position, and the next call requires this token. A replica or an append-only
   * file can lose only its last writes. So a Redis with the last token also has the customers and
   * entries of all calls. If one call is enough, this call also moves the position.
   */
  const writeOnOne: Write = async (customers, partition, from, to, { oldest = '0', isPublished, ...move }) => {
    const { position } = fields(partition)
    const calls = Math.max(1, Math.ceil(customers.length / CUSTOMERS_PER_CALL))
    const isComplete = customers.every(mayAddEntries)
    // Only move-position.lua checks the claim that a first position needs.
    const isWholeChunk = calls === 1 && isComplete && !isPublished && from !== undefined
    const chunk = randomUUID()
    const token = (call: number) => (call === 0 ? '' : `${chunk}/${call}`)
    const done = await all(
      Array.from({ length: calls }, (_, call) =>
        applyAtOnce(
          customers.slice(call * CUSTOMERS_PER_CALL, (call + 1) * CUSTOMERS_PER_CALL),
          [`${position}/`, oldest, to, ''],
          positionArguments(
            position,
            {
              ...move,
              from,
              requiredToken: token(call),
              newToken: token(call + 1),
              waitsForFill: isPublished || move.stateTopicId !== undefined,
              isWholeChunk,
            },
            keyPrefix,
          ),
        ),
      ),
    )
    const stored = done.flatMap((each) => each.stored)
    if (!done.every(({ isInPlace }) => isInPlace)) return { isInPlace: false, stored, token: '' }
    if (done[0]?.hasMoved) return { isInPlace: true, hasMoved: true, stored, token: '' }
    const indexUpdates = done.flatMap((each) => each.indexUpdates)
    return { isInPlace: true, stored, token: await indexes.update(indexUpdates, chainOf(partition, token(calls))) }
  }

  /**
   * Writes the customers, and stores a token beside each copy of the position. Then checks that the
   * customers and their entries are still stored. One call cannot write customers and position,
   * because they are in different slots. So a master that is replaced may lose some of them. If
   * this happens before the token is stored, the check finds that customers or entries are missing.
   * If this happens later, a new master without the customers also lacks the token, and `moveAfter`
   * fails.
   */
  const writeOnCluster: Write = async (customers, partition, _from, to, { oldest = '0', isPublished }) => {
    const { position, token: tokenField, fill: fillField } = fields(partition)
    // Each call has one customer, because two customers rarely share a slot.
    const applied = await all(customers.map((customer) => applyAtOnce([customer], [`${position}/`, oldest, to, ''])))
    const indexUpdates = applied.flatMap((each) => each.indexUpdates)
    await indexes.update(indexUpdates)
    const token = randomUUID()
    await all(copies.map((key) => redis.hset(key, tokenField, token)))
    const stored = applied.flatMap((each) => each.stored)
    const written = customers.filter((_, i) => stored[i] !== 'erased')
    await assertStored(redis, written, options)
    await indexes.assertUpdated(indexUpdates)
    const fills = isPublished ? await all(copies.map((key) => redis.hget(key, fillField))) : []
    return { isInPlace: fills.every((fill) => fill === null), stored, token }
  }
  const write = clustered ? writeOnCluster : writeOnOne
  const writeChunk: Store['writeChunk'] = (customers, partition, from, to, { oldest = '0' } = {}) =>
    write(customers, partition, from, to, { oldest, isPublished: true })

  /**
   * Erases the customers, stores a token as a chunk does, then removes the entries in indexes. A
   * late projector cannot add entries after its token was replaced. On Redis Cluster the token is
   * stored last, because there the token shows that no master has lost a write.
   */
  const writeErasures: Store['writeErasures'] = async (erasures, partition, position, topicId) => {
    const place = `${topicId}/${partition}`
    const markOf = ({ customerUuid }: ErasureRecord) => erasedKey(customerUuid, keyPrefix)
    const replies = await all(
      erasures.map((each) => {
        const { scope, erasedAt } = each.erasure
        const key = customerKey(each.customerUuid, keyPrefix)
        return redis.eraseCustomer(key, markOf(each), scope, erasedAt, place, each.offset)
      }),
    )
    const entries = erasures.map(({ customerUuid, erasure: { scope, erasedAt } }, i) => ({
      customerUuid,
      index: replies[i]?.[1] ?? '',
      kept: replies[i]?.[2] ?? '',
      until: scope === 'forever' ? Number.MAX_SAFE_INTEGER : erasedAt,
    }))
    if (clustered) await indexes.erase(entries)
    const { isInPlace, token } = await writeChunk([], partition, position, position)
    const stored = replies.map(([outcome]) => (outcome === -1 ? 'stale' : 'erased'))
    if (!isInPlace) return { isInPlace, stored, token }
    if (!clustered) return { isInPlace, stored, token: await indexes.erase(entries, chainOf(partition, token)) }
    // A master may have lost a mark before the token was stored.
    const marks = await all(erasures.map((each) => redis.exists(markOf(each))))
    if (marks.includes(0)) throw new LostChunkError()
    return { isInPlace, stored, token }
  }

  const applyChunk: Store['applyChunk'] = async (customers, partition, from, to, chunk = {}) => {
    const written = await write(customers, partition, from, to, { ...chunk, isPublished: false })
    const { isInPlace, hasMoved, stored, token } = written
    if (!isInPlace) return { moved: false, stored: [] }
    return { moved: hasMoved || (await positionStore.moveAfter(partition, from, to, token, chunk)), stored }
  }

  return {
    ...positionStore,
    applyChunk,
    writeChunk,
    writeErasures,
    applyStates: async (customers, partition, { progress, rawFrom, isComplete, keepsNewer }) => {
      const { position, fill, fillToken } = fields(partition)
      // A hash of an earlier projection may be newer than the document. Keep this hash if its event
      // will be applied later, or if the state topic may lack the document of this event.
      const place = [`${position}/`, isComplete ? '0' : rawFrom, rawFrom, keepsNewer ? '1' : '']
      const done: AppliedCall[] = []
      let token = ''
      // Send one part after another. A fetch may have many megabytes. On a slow network, parallel
      // calls would exceed the command timeout at every attempt.
      for (const part of partsOf(customers)) {
        if (clustered) {
          const calls = await all(part.map((customer) => applyAtOnce([customer], place)))
          await indexes.update(calls.flatMap(({ indexUpdates }) => indexUpdates))
          done.push(...calls)
          continue
        }
        // As in a chunk, each call requires the token of the previous call.
        const newToken = randomUUID()
        const call = { from: progress, requiredToken: token, newToken }
        const applied = await applyAtOnce(part, place, positionArguments(fill, call, keyPrefix))
        if (!applied.isInPlace) return { stored: [], kept: [], indexUpdates: [], token: '' }
        token = await indexes.update(applied.indexUpdates, chainOf(partition, newToken, fillToken))
        done.push(applied)
      }
      const stored = done.flatMap((each) => each.stored)
      return {
        stored: customers.filter((_, i) => stored[i] !== 'erased'),
        kept: done.flatMap((each) => each.kept),
        indexUpdates: done.flatMap((each) => each.indexUpdates),
        token,
      }
    },
    deleteErased: async (customerUuid, erasedAt) => {
      const [key, mark] = [customerKey(customerUuid, keyPrefix), erasedKey(customerUuid, keyPrefix)]
      const [limit, index, kept] = await redis.deleteErased(key, mark, erasedAt)
      await indexes.erase([{ customerUuid, index, kept, until: Number(limit) }])
    },
    announce: async (instance) => {
      await redis.set(`${memberKeyPrefix}${instance}`, '1', 'PX', ANNOUNCEMENT_MS)
    },
    saveReport: (instance, report) => saveReport(redis, { keyPrefix, instance }, report),
    announced: async (instances) => {
      const replies = await all(instances.map((instance) => redis.exists(`${memberKeyPrefix}${instance}`)))
      return new Set(instances.filter((_, i) => replies[i] === 1))
    },
    deniedCommands: async () => {
      const unused = 'customer-stream-check'
      const keys = [customerKey(unused, keyPrefix), erasedKey(unused, keyPrefix), `${keyPrefix}positions:check`]
      const checks = keys.map((key) => redis.checkRights(key, 'hash'))
      if (options.indexes) checks.push(redis.checkRights(indexKey(`phone:${unused}`, keyPrefix), 'index'))
      return [...new Set((await all(checks)).flat())]
    },
    // PING would ask one master only. This call asks each master that has a copy of the positions.
    ping: async () => {
      await all(copies.map((key) => redis.exists(key)))
    },
  }
}
