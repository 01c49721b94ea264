import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { TopicIdentity } from '@customer-stream/runtime/kafka'
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import {
  type CustomerHash,
  clusterPositionsKeys,
  compareVersions,
  customerKey,
  type ErasureRecord,
  erasedKey,
  META,
  positionField,
  positionsKey,
} from '@customer-stream/schemas'

/** Result of storing the newest event of one customer. */
export type StoreOutcome = 'applied' | 'duplicate' | 'stale' | 'erased'

export interface AppliedChunk {
  readonly moved: boolean
  readonly stored: readonly StoreOutcome[]
}

/** A chunk whose customers are written, and whose position has not moved yet. */
export interface WrittenChunk {
  /**
   * False if the stored position was not the expected one. If the chunk needs several calls, some
   * of these calls may have written their customers.
   */
  readonly isInPlace: boolean
  readonly stored: readonly StoreOutcome[]
  /** Token that is stored beside the position, until another chunk replaces this token. */
  readonly token: string
}

/** Offsets that a lookahead has read: `start` up to, not including, `end`. */
export interface LookaheadWindow {
  readonly start: string
  readonly end: string
}

export interface ChunkOptions {
  /**
   * The oldest offset of the partition in Kafka. A rebuild keeps a newer hash whose record is
   * before this offset, because Kafka no longer has that record.
   */
  readonly oldest?: string | undefined
  /** The lookahead's window to which the chunk belongs. Stored together with the position. */
  readonly window?: LookaheadWindow | undefined
  /**
   * Id of the state topic that has the documents of all events before the new position. Stored
   * together with the position.
   */
  readonly stateTopicId?: string | undefined
  /** New position in the erasures topic. Stored together with the position. */
  readonly erasures?: ErasuresPosition | undefined
}

/** An erasure with the offset of its record. */
export interface PlacedErasure extends ErasureRecord {
  readonly offset: string
}

/** Position in a partition of the erasures topic. */
export interface ErasuresPosition {
  /** Id of the erasures topic. */
  readonly topicId: string
  /** Next offset of the erasures topic to execute. */
  readonly offset: string
}

export interface Store {
  /**
   * Writes the customers that are newer than the stored customers, then moves the position from
   * `from` to `to`. If Redis fails over or is restored in between, the position does not move.
   * @param customers at most one snapshot of each customer.
   * @returns the outcome of each customer, and whether the position is `to` now.
   */
  applyChunk(
    customers: readonly CustomerHash[],
    partition: number,
    from: string | undefined,
    to: string,
    options?: ChunkOptions,
  ): Promise<AppliedChunk>
  /**
   * Writes a chunk that will be published, but does not move the position. `moveAfter` moves the
   * position later, if no other process has written a chunk of this partition in between. While the
   * partition is being filled, no chunk is in place, because Redis lacks hashes to compare with.
   */
  writeChunk(
    customers: readonly CustomerHash[],
    partition: number,
    from: string | undefined,
    to: string,
    options?: Pick<ChunkOptions, 'oldest'>,
  ): Promise<WrittenChunk>
  /**
   * Erases customers like a chunk without records: does not move the position, but replaces its
   * token. So a chunk that is being written fails. `moveAfter` then stores the position in the
   * erasures topic.
   * @param topicId id of the erasures topic.
   * @returns `erased`, or `stale` if the hash is kept: its event is newer than an erasure
   *   `until-now`, or a later erasure of the customer was executed.
   */
  writeErasures(
    erasures: readonly PlacedErasure[],
    partition: number,
    position: string,
    topicId: string,
  ): Promise<WrittenChunk>
  /** Returns the positions in the erasures topic. On Redis Cluster the lowest copy counts. */
  erasuresPositions(partitions: readonly number[]): Promise<ReadonlyMap<number, ErasuresPosition | undefined>>
  /** Deletes the position in the erasures topic. All erasures are then executed again. */
  forgetErasures(partition: number): Promise<void>
  /**
   * Moves the position from `from` to `to` after `writeChunk` or `writeErasures`.
   * @returns whether the position is `to` now.
   * @throws LostChunkError if the token is gone.
   */
  moveAfter(
    partition: number,
    from: string | undefined,
    to: string,
    token: string,
    options?: Pick<ChunkOptions, 'window' | 'stateTopicId' | 'erasures'>,
  ): Promise<boolean>
  /**
   * Moves a position back to `to` if the position is greater. The owner of the partition then
   * applies the records from `to` again. If a chunk is written but has not moved the position, its
   * records are also applied again.
   * @returns whether the position was greater.
   */
  lowerPosition(partition: number, to: string): Promise<boolean>
  /**
   * Returns the position in the previous projection. Undefined if that position belongs to another
   * topic.
   */
  previousPosition(partition: number): Promise<string | undefined>
  /** Returns the next offset to apply, by partition. Undefined if Redis has no position. */
  positions(partitions: readonly number[]): Promise<Map<number, string | undefined>>
  /**
   * Returns each position that is within a lookahead's window, with the window, by partition. If
   * the process that has read the window is gone, the window must be applied again from its start.
   */
  unfinishedWindows(
    partitions: readonly number[],
  ): Promise<ReadonlyMap<number, LookaheadWindow & { readonly position: string }>>
  /** Deletes the window of a partition. Its position must not be within the window. */
  forgetWindow(partition: number): Promise<void>
  /**
   * Returns, by partition, the offset up to which a state topic has all documents. Undefined if no
   * state topic is known to have documents of the partition.
   */
  publishedPositions(
    partitions: readonly number[],
  ): Promise<ReadonlyMap<number, { readonly stateTopicId: string; readonly offset: string } | undefined>>
  /**
   * Writes the customers of a fill that are newer than the stored customers. Moves no position.
   * @returns the customers that are not erased.
   */
  applyStates(
    customers: readonly CustomerHash[],
    partition: number,
    fill: { readonly rawFrom: string; readonly isComplete: boolean },
  ): Promise<readonly CustomerHash[]>
  /** Deletes a customer whose event was received at `erasedAt` (Unix milliseconds) or before. */
  deleteErased(customerUuid: string, erasedAt: number): Promise<void>
  /** Moves a position if the position is `from`. @returns whether the position is `to` now. */
  movePosition(partition: number, from: string | undefined, to: string): Promise<boolean>
  /** Reads positions like `positions`, but changes no copy on Redis Cluster. */
  peekPositions(partitions: readonly number[]): Promise<ReadonlyMap<number, string | undefined>>
  /**
   * Stores the ids of cluster and topic beside the positions. If the topic was deleted and created
   * again, deletes its old positions.
   * @returns the number of deleted positions.
   * @throws OtherClusterError if the positions belong to another cluster and `startOver` is false.
   */
  claimPositions(identity: TopicIdentity, startOver: boolean): Promise<number>
  /** Announces to other projectors that this instance uses this Redis. Valid for a minute. */
  announce(instance: string): Promise<void>
  /** Returns those of the given instances that use this Redis. */
  announced(instances: readonly string[]): Promise<ReadonlySet<string>>
  ping(): Promise<void>
}

/**
 * The positions in Redis belong to another Kafka cluster. Nothing is applied until a person acts.
 */
export class OtherClusterError extends Error {
  override readonly name = 'OtherClusterError'
}

const outcomes = new Map<number, StoreOutcome>([
  [1, 'applied'],
  [0, 'duplicate'],
  [-1, 'stale'],
  [2, 'erased'],
])
/** Reply of apply-snapshots.lua if the call must be repeated with the keys of the marks. */
const NEEDS_MARK = 3

export interface Rights {
  /** Commands that Redis denies on the projector's keys. Empty if it denies none. */
  deniedCommands(): Promise<string[]>
}

const ANNOUNCEMENT_MS = 60_000

// Suffixes of the fields beside the field of a position. The Lua scripts have the same suffixes.
const TOKEN_SUFFIX = '#token'
const WINDOW_SUFFIX = '#window'
/** Suffix of the field of a fill's progress. The Lua scripts have the same text. */
export const FILL_SUFFIX = '#fill'
/** The field's value: id of the state topic/offset up to which the topic has all documents. */
export const STATE_SUFFIX = '#state'
/** The field's value: id of the erasures topic/next offset to execute. */
const ERASURES_SUFFIX = '#erasures'

/** Redis does nothing else during a call, so a call is limited to 250 × about 20 µs = 5 ms. */
const CUSTOMERS_PER_CALL = 250

export const script = (name: string): string => readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8')

type Scripts = RedisClient & {
  checkRights(key: string): Promise<string[]>
  applySnapshots(keyCount: number, keys: readonly string[], args: readonly (string | number)[]): Promise<number[]>
  movePosition(
    key: string,
    field: string,
    from: string,
    to: string,
    token: string,
    window: string,
    stateTopicId: string,
    erasures: string,
  ): Promise<number>
  eraseCustomer(
    ...args: [key: string, mark: string, scope: string, erasedAt: number, partition: string, offset: string]
  ): Promise<number>
  lowerPosition(key: string, field: string, to: string): Promise<number>
  deleteErased(key: string, erasedAt: number): Promise<number>
  claimPositions(key: string, topic: string, cluster: string, topicId: string, startOver: string): Promise<Claim>
}

/** A failed attempt that may be repeated, because the position has not moved. */
export class LostChunkError extends Error {
  override readonly name = 'LostChunkError'
  constructor() {
    super(
      'Redis had stored customers or the token of this chunk and now lacks them: Redis failed over, was restored, ' +
        'or another projector writes to this partition',
    )
  }
}

type Claim = ['claimed'] | ['deleted', number, string] | ['refused', string]

export interface StoreOptions {
  readonly keyPrefix: string
  readonly topic: string
  readonly projection: number
}

const rank = (offset: string): bigint => (/^\d+$/.test(offset) ? BigInt(offset) : -1n)

/**
 * Parses a stored window, start/end. Returns undefined if the position is not within the window.
 */
const windowAround = (position: string, stored: string | null | undefined): LookaheadWindow | undefined => {
  const [start = '', end = ''] = stored?.split('/') ?? []
  return rank(position) > rank(start) && rank(position) < rank(end) ? { start, end } : undefined
}

/** Returns the lowest offset, or undefined if an offset is missing. */
const lowest = (offsets: readonly (string | undefined)[]): string | undefined =>
  offsets.reduce((low, offset) =>
    low === undefined || offset === undefined ? undefined : rank(offset) < rank(low) ? offset : low,
  )

/** Returns the lowest of several `id/offset`, or undefined if one is missing or the ids differ. */
const lowestOf = (stored: readonly (string | null | undefined)[]): ErasuresPosition | undefined => {
  const [first, ...others] = stored.map((value) => value?.split('/') ?? [])
  const [topicId] = first ?? []
  const offset = lowest([first, ...others].map((parts) => parts?.[1]))
  return others.every(([id]) => id === topicId) && topicId && offset ? { topicId, offset } : undefined
}

/**
 * Settles after all calls. Otherwise a retry could begin while calls of the first attempt still
 * hang.
 */
export const all = async <T>(calls: readonly Promise<T>[]): Promise<T[]> => {
  await Promise.allSettled(calls)
  return Promise.all(calls)
}

/** @throws LostChunkError if Redis lacks one of these customers, or has an older version. */
export const assertStored = async (
  redis: RedisClient,
  customers: readonly CustomerHash[],
  keyPrefix: string,
): Promise<void> => {
  const found = await all(
    customers.map(({ customerUuid }) =>
      redis.hmget(customerKey(customerUuid, keyPrefix), META.eventTimestamp, META.eventId),
    ),
  )
  for (const [i, [timestamp, id]] of found.entries()) {
    const { version } = customers[i] as CustomerHash
    if (!timestamp || !id || compareVersions({ timestamp: Number(timestamp), id }, version) < 0)
      throw new LostChunkError()
  }
}

type Write = (
  customers: readonly CustomerHash[],
  partition: number,
  from: string | undefined,
  to: string,
  options: Pick<ChunkOptions, 'oldest'> & { readonly isPublished: boolean },
) => Promise<WrittenChunk>

/**
 * Creates the store, which reads and writes hashes and positions in Redis. A method that rejects
 * may be called again with the same arguments.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one entry for each use of Redis
export const createStore = (client: RedisClient, { keyPrefix, topic, projection }: StoreOptions): Store & Rights => {
  client.defineCommand('applySnapshots', { lua: script('apply-snapshots') })
  client.defineCommand('movePosition', { lua: script('move-position'), numberOfKeys: 1 })
  client.defineCommand('eraseCustomer', { lua: script('erase-customer'), numberOfKeys: 2 })
  client.defineCommand('lowerPosition', { lua: script('lower-position'), numberOfKeys: 1 })
  client.defineCommand('deleteErased', { lua: script('delete-erased'), numberOfKeys: 1 })
  client.defineCommand('claimPositions', { lua: script('claim-positions'), numberOfKeys: 1 })
  client.defineCommand('checkRights', { lua: script('check-rights'), numberOfKeys: 1 })
  const redis = client as Scripts
  const clustered = isCluster(client)
  const copies = clustered ? clusterPositionsKeys(projection, keyPrefix) : [positionsKey(projection, keyPrefix)]
  const tokenField = (field: string) => `${field}${TOKEN_SUFFIX}`
  const fieldOf = (partition: number) => positionField(topic, partition)
  const windowField = (field: string) => `${field}${WINDOW_SUFFIX}`
  const textOf = (window: LookaheadWindow | undefined) => (window ? `${window.start}/${window.end}` : '')
  const memberKeyPrefix = `${keyPrefix}positions:member:`

  /**
   * Calls apply-snapshots.lua.
   * @param place arguments 2 to 4 of the script.
   * @param position arguments 6 to 11 of the script. On Redis Cluster only argument 6.
   * @param withMarks false on Redis Cluster until the script asks for the keys of the marks,
   *   because a call with two keys fails while a slot moves (TRYAGAIN).
   */
  const applyAtOnce = async (
    customers: readonly CustomerHash[],
    place: readonly string[],
    position: readonly string[] = [''],
    withMarks = !clustered,
  ): Promise<AppliedChunk> => {
    const [positions = ''] = copies
    const keys = customers.map(({ customerUuid }) => customerKey(customerUuid, keyPrefix))
    if (withMarks) for (const { customerUuid } of customers) keys.push(erasedKey(customerUuid, keyPrefix))
    if (position.length > 1) keys.push(positions)
    const args: (string | number)[] = [projection, ...place, customers.length, ...position]
    for (const { version, fieldsAndValues } of customers) {
      args.push(version.timestamp, version.id, fieldsAndValues.length)
      for (const part of fieldsAndValues) args.push(part)
    }
    const [state, ...replies] = await redis.applySnapshots(keys.length, keys, args)
    if (state === 0) return { moved: false, stored: [] }
    if (state === -1) throw new LostChunkError()
    if (replies.includes(NEEDS_MARK)) return applyAtOnce(customers, place, position, true)
    const stored = customers.map((_, i) => {
      const outcome = outcomes.get(replies[i] ?? Number.NaN)
      // An unknown reply must not count as success. Otherwise the position would move past an event
      // that is not stored.
      if (outcome === undefined) throw new Error(`apply-snapshots.lua replied ${String(replies[i])}`)
      return outcome
    })
    if (state !== 1) throw new Error(`apply-snapshots.lua replied ${String(state)}`)
    return { moved: true, stored }
  }

  /**
   * Writes a chunk in several calls. Each call stores a token beside the position, and the next
   * call requires this token. A replica or an append-only file can lose only its last writes. So a
   * Redis with the last token also has the customers of all calls.
   */
  const writeOnOne: Write = async (customers, partition, from, to, { oldest = '0', isPublished }) => {
    const field = fieldOf(partition)
    const calls = Math.max(1, Math.ceil(customers.length / CUSTOMERS_PER_CALL))
    const chunk = randomUUID()
    const token = (call: number) => (call === 0 ? '' : `${chunk}/${call}`)
    const done = await all(
      Array.from({ length: calls }, (_, call) =>
        applyAtOnce(
          customers.slice(call * CUSTOMERS_PER_CALL, (call + 1) * CUSTOMERS_PER_CALL),
          [`${field}/`, oldest, to],
          [field, from ?? '', token(call), token(call + 1), '', isPublished ? 'published' : ''],
        ),
      ),
    )
    return {
      isInPlace: done.every(({ moved }) => moved),
      stored: done.flatMap(({ stored }) => stored),
      token: token(calls),
    }
  }

  /**
   * Writes the customers, stores a token beside each copy of the position, and then checks that the
   * customers are still there. One call cannot write customers and position, because they are in
   * different slots. If a master is replaced before its token is stored, the check finds customers
   * missing. If a master is replaced later, the new master has the customers or lacks the token, so
   * `moveAfter` fails.
   */
  const writeOnCluster: Write = async (customers, partition, _from, to, { oldest = '0', isPublished }) => {
    const field = fieldOf(partition)
    // Each call has one customer, because two customers rarely share a slot.
    const applied = await all(customers.map((customer) => applyAtOnce([customer], [`${field}/`, oldest, to])))
    const token = randomUUID()
    await all(copies.map((key) => redis.hset(key, tokenField(field), token)))
    const stored = applied.flatMap((each) => each.stored)
    const written = customers.filter((_, i) => stored[i] !== 'erased')
    await assertStored(redis, written, keyPrefix)
    const fills = isPublished ? await all(copies.map((key) => redis.hget(key, `${field}${FILL_SUFFIX}`))) : []
    return { isInPlace: fills.every((fill) => fill === null), stored, token }
  }
  const write = clustered ? writeOnCluster : writeOnOne
  const writeChunk: Store['writeChunk'] = (customers, partition, from, to, { oldest = '0' } = {}) =>
    write(customers, partition, from, to, { oldest, isPublished: true })

  /** Erases the customers, then stores a token as a chunk does. */
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
    const { isInPlace, token } = await writeChunk([], partition, position, position)
    // On Redis Cluster, a master may have lost a mark before the token was stored.
    if (clustered) {
      const marks = await all(erasures.map((each) => redis.exists(markOf(each))))
      if (marks.includes(0)) throw new LostChunkError()
    }
    return { isInPlace, stored: replies.map((reply) => (reply === -1 ? 'stale' : 'erased')), token }
  }

  const moveAfter: Store['moveAfter'] = async (partition, from, to, token, options = {}) => {
    const { window, stateTopicId = '', erasures } = options
    const field = fieldOf(partition)
    const done = erasures ? `${erasures.topicId}/${erasures.offset}` : ''
    const replies = await all(
      copies.map((key) => redis.movePosition(key, field, from ?? '', to, token, textOf(window), stateTopicId, done)),
    )
    if (replies.some((reply) => reply === -1)) throw new LostChunkError()
    return replies.every((reply) => reply === 1)
  }

  const applyChunk: Store['applyChunk'] = async (customers, partition, from, to, options = {}) => {
    if (!clustered && customers.length <= CUSTOMERS_PER_CALL) {
      const field = fieldOf(partition)
      const position = [field, from ?? '', '', '', textOf(options.window), options.stateTopicId ?? '']
      return applyAtOnce(customers, [`${field}/`, options.oldest ?? '0', to], position)
    }
    const { isInPlace, stored, token } = await write(customers, partition, from, to, { ...options, isPublished: false })
    return isInPlace
      ? { moved: await moveAfter(partition, from, to, token, options), stored }
      : { moved: false, stored: [] }
  }

  /**
   * Sets all copies of a position to the lowest copy. A restored master has a lower position, and
   * applying events twice is harmless.
   */
  const level = async (partition: number, offsets: readonly (string | undefined)[]): Promise<string | undefined> => {
    const low = lowest(offsets)
    if (low === undefined) return undefined
    await all(
      copies.flatMap((key, i) =>
        offsets[i] === low ? [] : [redis.movePosition(key, fieldOf(partition), offsets[i] ?? '', low, '', '', '', '')],
      ),
    )
    return low
  }

  return {
    applyChunk,
    writeChunk,
    writeErasures,
    moveAfter,
    erasuresPositions: async (partitions) => {
      if (partitions.length === 0) return new Map()
      const fields = partitions.map((partition) => `${fieldOf(partition)}${ERASURES_SUFFIX}`)
      const stored = await all(copies.map((key) => redis.hmget(key, ...fields)))
      return new Map(partitions.map((partition, i) => [partition, lowestOf(stored.map((values) => values[i]))]))
    },
    forgetErasures: async (partition) => {
      await all(copies.map((key) => redis.hdel(key, `${fieldOf(partition)}${ERASURES_SUFFIX}`)))
    },
    lowerPosition: async (partition, to) => {
      const lowered = await all(copies.map((key) => redis.lowerPosition(key, fieldOf(partition), to)))
      return lowered.includes(1)
    },
    previousPosition: async (partition) => {
      const before = clustered
        ? clusterPositionsKeys(projection - 1, keyPrefix)
        : [positionsKey(projection - 1, keyPrefix)]
      const topicId = `${topic}/topic`
      const [own = [], ...found] = await all([
        redis.hmget(copies[0] ?? '', topicId),
        ...before.map((key) => redis.hmget(key, topicId, fieldOf(partition), windowField(fieldOf(partition)))),
      ])
      const isOther = found.some(([id]) => id && own[0] && id !== own[0])
      // Within a lookahead's window, count only records before the start of the window. Events that
      // a lookahead left out were not checked, so unusable ones are not in quarantine.
      const reached = found.map(
        ([, offset, window]) => windowAround(offset ?? '', window)?.start ?? offset ?? undefined,
      )
      return isOther ? undefined : lowest(reached)
    },
    positions: async (partitions) => {
      if (partitions.length === 0) return new Map()
      const stored = await all(copies.map((key) => redis.hmget(key, ...partitions.map(fieldOf))))
      const levelled = await all(
        partitions.map((partition, i) =>
          level(
            partition,
            stored.map((offsets) => offsets[i] ?? undefined),
          ),
        ),
      )
      return new Map(partitions.map((partition, i) => [partition, levelled[i]]))
    },
    unfinishedWindows: async (partitions) => {
      if (partitions.length === 0) return new Map()
      const fields = partitions.map(fieldOf).flatMap((field) => [field, windowField(field)])
      const stored = await all(copies.map((key) => redis.hmget(key, ...fields)))
      const unfinished = new Map<number, LookaheadWindow & { position: string }>()
      for (const [i, partition] of partitions.entries()) {
        const position = lowest(stored.map((values) => values[2 * i] ?? undefined)) ?? ''
        for (const values of stored) {
          const window = windowAround(position, values[2 * i + 1])
          if (window) unfinished.set(partition, { position, ...window })
        }
      }
      return unfinished
    },
    publishedPositions: async (partitions) => {
      if (partitions.length === 0) return new Map()
      const fields = partitions.map((partition) => `${fieldOf(partition)}${STATE_SUFFIX}`)
      const stored = await all(copies.map((key) => redis.hmget(key, ...fields)))
      return new Map(
        partitions.map((partition, i) => {
          const lowestCopy = lowestOf(stored.map((values) => values[i]))
          return [partition, lowestCopy && { stateTopicId: lowestCopy.topicId, offset: lowestCopy.offset }]
        }),
      )
    },
    applyStates: async (customers, partition, { rawFrom, isComplete }) => {
      // Keep a newer hash of an earlier projection if its event will be applied later, or if the
      // state topic may lack its document.
      const place = [`${fieldOf(partition)}/`, isComplete ? '0' : rawFrom, rawFrom]
      const perCall = clustered ? 1 : CUSTOMERS_PER_CALL
      const calls = Array.from({ length: Math.ceil(customers.length / perCall) }, (_, call) =>
        customers.slice(call * perCall, (call + 1) * perCall),
      )
      const done = await all(calls.map((part) => applyAtOnce(part, place)))
      const stored = done.flatMap((each) => each.stored)
      return customers.filter((_, i) => stored[i] !== 'erased')
    },
    deleteErased: async (customerUuid, erasedAt) => {
      await redis.deleteErased(customerKey(customerUuid, keyPrefix), erasedAt)
    },
    forgetWindow: async (partition) => {
      await all(copies.map((key) => redis.hdel(key, windowField(fieldOf(partition)))))
    },
    movePosition: async (partition, from, to) => {
      const moved = await all(
        copies.map((key) => redis.movePosition(key, fieldOf(partition), from ?? '', to, '', '', '', '')),
      )
      return moved.every((reply) => reply === 1)
    },
    peekPositions: async (partitions) => {
      const stored = await all(copies.map((key) => redis.hmget(key, ...partitions.map(fieldOf))))
      return new Map(
        partitions.map((partition, i) => [partition, lowest(stored.map((offsets) => offsets[i] ?? undefined))]),
      )
    },
    claimPositions: async ({ clusterId = '', topicId = '' }, startOver) => {
      const claims = await all(
        copies.map((key) => redis.claimPositions(key, topic, clusterId, topicId, startOver ? '1' : '0')),
      )
      let deleted = 0
      for (const [claim, detail] of claims) {
        if (claim === 'refused') {
          throw new OtherClusterError(
            `the positions in Redis belong to the Kafka cluster ${detail}, and KAFKA_BROKERS leads to the ` +
              `cluster ${clusterId}. ` +
              'Nothing is applied. Correct KAFKA_BROKERS, REDIS_URL or REDIS_KEY_PREFIX. If the cluster was ' +
              'replaced on purpose, ' +
              'set ON_CLUSTER_CHANGE=start-over: the topic is then applied from its start.',
          )
        }
        if (claim === 'deleted') deleted = Math.max(deleted, Number(detail))
      }
      return deleted
    },
    announce: async (instance) => {
      await redis.set(`${memberKeyPrefix}${instance}`, '1', 'PX', ANNOUNCEMENT_MS)
    },
    announced: async (instances) => {
      const replies = await all(instances.map((instance) => redis.exists(`${memberKeyPrefix}${instance}`)))
      return new Set(instances.filter((_, i) => replies[i] === 1))
    },
    deniedCommands: async () => {
      const unused = 'customer-stream-check'
      const keys = [customerKey(unused, keyPrefix), erasedKey(unused, keyPrefix), `${keyPrefix}positions:check`]
      return [...new Set((await all(keys.map((key) => redis.checkRights(key)))).flat())]
    },
    // PING would ask one master only. This call asks each master that has a copy of the positions.
    ping: async () => {
      await all(copies.map((key) => redis.exists(key)))
    },
  }
}
