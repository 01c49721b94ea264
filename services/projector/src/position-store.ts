/**
 * Reads and moves the positions in Redis, and the fields that are stored with the positions. A
 * method that rejects may be called again with the same arguments.
 */
import type { TopicIdentity } from '@customer-stream/runtime/kafka'
import { lowerPosition, type RedisClient } from '@customer-stream/runtime/redis'
import { all, createPositionHash, type StoreOptions, script } from './position-hash.ts'

/** Offsets that a lookahead has read: `start` up to, not including, `end`. */
export interface LookaheadWindow {
  readonly start: string
  readonly end: string
}

/** Position in a partition of the erasures topic. */
export interface ErasuresPosition {
  /** Id of the erasures topic. */
  readonly topicId: string
  /** Next offset of the erasures topic to execute. */
  readonly offset: string
  /**
   * Id of the state topic that has the tombstones of all erasures before the offset. Undefined if
   * an erasure was executed while the state topic was switched off.
   */
  readonly stateTopicId?: string | undefined
}

/** Values that are stored together with a new position. */
export interface MoveOptions {
  /** The lookahead's window to which the chunk belongs. */
  readonly window?: LookaheadWindow | undefined
  /**
   * Id of the state topic that has the documents of all events before the new position.
   */
  readonly stateTopicId?: string | undefined
  /** New position in the erasures topic. */
  readonly erasures?: ErasuresPosition | undefined
}

export interface PositionStore {
  /** Returns the positions in the erasures topic. On Redis Cluster, returns the lowest copy. */
  erasuresPositions(partitions: readonly number[]): Promise<ReadonlyMap<number, ErasuresPosition | undefined>>
  /** Deletes the position in the erasures topic. All erasures are then executed again. */
  forgetErasures(partition: number): Promise<void>
  /**
   * Moves the position from `from` to `to` after `writeChunk` or `writeErasures`.
   * @returns whether the position is `to` now.
   * @throws LostChunkError if the token is no longer stored.
   */
  moveAfter(
    partition: number,
    from: string | undefined,
    to: string,
    token: string,
    options?: MoveOptions,
  ): Promise<boolean>
  /**
   * Moves a position back to `to` if the position is greater. The owner of the partition then
   * applies the records since `to` again. These records include the records of a chunk that has not
   * moved the position yet.
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
   * Returns, by partition, each position that is within a lookahead's window, and this window. If
   * the process that has read the window has ended, the window must be applied again from its
   * start.
   */
  unfinishedWindows(
    partitions: readonly number[],
  ): Promise<ReadonlyMap<number, LookaheadWindow & { readonly position: string }>>
  /** Deletes the window of a partition. Its position must not be within the window. */
  forgetWindow(partition: number): Promise<void>
  /**
   * Returns, by partition, the offset up to which a state topic has all documents. Undefined for a
   * partition without a published offset in Redis.
   */
  publishedPositions(
    partitions: readonly number[],
  ): Promise<ReadonlyMap<number, { readonly stateTopicId: string; readonly offset: string } | undefined>>
  /** Moves a position if the position is `from`. @returns whether the position is `to` now. */
  movePosition(partition: number, from: string | undefined, to: string): Promise<boolean>
  /** Reads positions like `positions`, but changes no copy on Redis Cluster. */
  peekPositions(partitions: readonly number[]): Promise<ReadonlyMap<number, string | undefined>>
  /**
   * Stores the ids of cluster and topic, the number of partitions, and the settings of the indexes,
   * together with the positions. If the topic was deleted and created again, deletes its old
   * positions.
   * @returns the number of deleted positions.
   * @throws RefusedPositionsError if the positions belong to another cluster and `startOver` is
   *   false, or if stored customers have entries of other indexes.
   */
  claimPositions(identity: TopicIdentity, startOver: boolean): Promise<number>
}

/**
 * Error: the positions in Redis belong to another Kafka cluster, or to other indexes. Nothing is
 * applied until a person acts.
 */
export class RefusedPositionsError extends Error {
  override readonly name = 'RefusedPositionsError'
  readonly reason: 'identity' | 'indexes'
  constructor(reason: 'identity' | 'indexes', message: string) {
    super(message)
    this.reason = reason
  }
}

/** Error: an attempt has failed and may be repeated, because the position has not moved. */
export class LostChunkError extends Error {
  override readonly name = 'LostChunkError'
  constructor() {
    super(
      'Redis no longer has all customers of this chunk, or no longer has its token: Redis failed over or was ' +
        'restored, or another projector writes to this partition',
    )
  }
}

type Scripts = RedisClient & {
  movePosition(
    key: string,
    field: string,
    from: string,
    to: string,
    token: string,
    window: string,
    stateTopicId: string,
    erasures: string,
    indexes: string,
  ): Promise<number>
  claimPositions(
    ...args: [
      key: string,
      topic: string,
      cluster: string,
      topicId: string,
      startOver: string,
      indexes: string,
      partitionCount: string,
    ]
  ): Promise<Claim>
}

type Claim = ['claimed'] | ['deleted', number, string] | ['refused' | 'other-indexes', string]

const rank = (offset: string): bigint => (/^\d+$/.test(offset) ? BigInt(offset) : -1n)

export const windowText = (window: LookaheadWindow | undefined): string =>
  window ? `${window.start}/${window.end}` : ''

/**
 * Parses the text of a window. Returns undefined if the position is not within the window.
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

/**
 * Returns the lowest of several positions in the erasures topic. Each text is
 * `topicId/offset/stateTopicId`. Undefined if a text is missing, or if the topic ids differ. If the
 * ids of the state topic differ, the result has no id of a state topic.
 */
const lowestOf = (stored: readonly (string | null | undefined)[]): ErasuresPosition | undefined => {
  const [first, ...others] = stored.map((value) => value?.split('/') ?? [])
  const [topicId, , stateId = ''] = first ?? []
  const offset = lowest([first, ...others].map((parts) => parts?.[1]))
  const stateTopicId = others.every((parts) => parts[2] === stateId) && stateId !== '' ? stateId : undefined
  return others.every(([id]) => id === topicId) && topicId && offset ? { topicId, offset, stateTopicId } : undefined
}

const readPreviousPosition = async (
  client: RedisClient,
  options: StoreOptions,
  partition: number,
): Promise<string | undefined> => {
  const { copies, fields } = createPositionHash(client, options)
  const before = createPositionHash(client, { ...options, projection: options.projection - 1 })
  const { position, window } = fields(partition)
  const topicId = `${options.topic}/topic`
  const [own = [], ...found] = await all([
    client.hmget(copies[0] ?? '', topicId),
    ...before.copies.map((key) => client.hmget(key, topicId, position, window)),
  ])
  const isOther = found.some(([id]) => id && own[0] && id !== own[0])
  // Within a lookahead's window, only the records before the window count as checked. An
  // unusable event that the lookahead left out is not in quarantine yet.
  const reached = found.map(([, offset, around]) => windowAround(offset ?? '', around)?.start ?? offset ?? undefined)
  return isOther ? undefined : lowest(reached)
}

/** @returns the number of deleted positions. */
const deletedBy = (claims: readonly Claim[], clusterId: string, indexes: string): number => {
  let deleted = 0
  for (const [claim, detail] of claims) {
    if (claim === 'refused') {
      throw new RefusedPositionsError(
        'identity',
        `the positions in Redis belong to the Kafka cluster ${detail}, and KAFKA_BROKERS leads to the cluster ` +
          `${clusterId}. Nothing is applied. Correct KAFKA_BROKERS, REDIS_URL or REDIS_KEY_PREFIX. If the ` +
          'cluster was replaced on purpose, set ON_CLUSTER_CHANGE=start-over: the topic is then applied from ' +
          'its start.',
      )
    }
    if (claim === 'other-indexes') {
      throw new RefusedPositionsError(
        'indexes',
        `the customers in Redis have ${detail === '' ? 'no indexes' : `the indexes ${detail}`}, and INDEXES and ` +
          `PHONE_COUNTRY ask for ${indexes || 'none'}. Nothing is applied. Raise PROJECTION_VERSION to rebuild ` +
          'the customers, or set INDEXES and PHONE_COUNTRY back.',
      )
    }
    if (claim === 'deleted') deleted = Math.max(deleted, Number(detail))
  }
  return deleted
}

export const createPositionStore = (client: RedisClient, options: StoreOptions): PositionStore => {
  client.defineCommand('movePosition', { lua: script('move-position'), numberOfKeys: 1 })
  client.defineCommand('claimPositions', { lua: script('claim-positions'), numberOfKeys: 1 })
  const redis = client as Scripts
  const { topic, indexes = '' } = options
  const { copies, fields, read } = createPositionHash(client, options)

  const moveCopy = (
    key: string,
    partition: number,
    from: string | undefined,
    to: string,
    token = '',
    { window, stateTopicId = '', erasures }: MoveOptions = {},
  ) => {
    const executed = erasures ? `${erasures.topicId}/${erasures.offset}/${erasures.stateTopicId ?? ''}` : ''
    const { position } = fields(partition)
    const values = [windowText(window), stateTopicId, executed] as const
    return redis.movePosition(key, position, from ?? '', to, token, ...values, indexes)
  }

  const moveAfter: PositionStore['moveAfter'] = async (partition, from, to, token, values) => {
    const replies = await all(copies.map((key) => moveCopy(key, partition, from, to, token, values)))
    if (replies.some((reply) => reply === -1)) throw new LostChunkError()
    return replies.every((reply) => reply === 1)
  }

  /**
   * Sets all copies of a position to the lowest copy. A restored master has a lower position, and
   * applying events twice is harmless.
   */
  const level = async (partition: number, offsets: readonly (string | undefined)[]): Promise<string | undefined> => {
    const low = lowest(offsets)
    if (low === undefined) return undefined
    await all(copies.flatMap((key, i) => (offsets[i] === low ? [] : [moveCopy(key, partition, offsets[i], low)])))
    return low
  }

  return {
    moveAfter,
    erasuresPositions: async (partitions) => {
      const stored = await read(partitions, 'erasures')
      return new Map([...stored].map(([partition, values]) => [partition, lowestOf(values)]))
    },
    forgetErasures: async (partition) => {
      await all(copies.map((key) => redis.hdel(key, fields(partition).erasures)))
    },
    lowerPosition: (partition, to) => lowerPosition(client, copies, fields(partition).position, to),
    previousPosition: (partition) => readPreviousPosition(client, options, partition),
    positions: async (partitions) => {
      const stored = await read(partitions, 'position')
      return new Map(
        await all(
          [...stored].map(async ([partition, offsets]) => [partition, await level(partition, offsets)] as const),
        ),
      )
    },
    unfinishedWindows: async (partitions) => {
      if (partitions.length === 0) return new Map()
      const names = partitions.map(fields).flatMap(({ position, window }) => [position, window])
      const stored = await all(copies.map((key) => redis.hmget(key, ...names)))
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
      const stored = await read(partitions, 'state')
      return new Map(
        [...stored].map(([partition, values]) => {
          const low = lowestOf(values)
          return [partition, low && { stateTopicId: low.topicId, offset: low.offset }]
        }),
      )
    },
    forgetWindow: async (partition) => {
      await all(copies.map((key) => redis.hdel(key, fields(partition).window)))
    },
    movePosition: (partition, from, to) => moveAfter(partition, from, to, ''),
    peekPositions: async (partitions) => {
      const stored = await read(partitions, 'position')
      return new Map([...stored].map(([partition, offsets]) => [partition, lowest(offsets)]))
    },
    claimPositions: async ({ clusterId = '', topicId = '', partitionCount }, startOver) => {
      const values = [topic, clusterId, topicId, startOver ? '1' : '0', indexes, String(partitionCount ?? '')] as const
      return deletedBy(await all(copies.map((key) => redis.claimPositions(key, ...values))), clusterId, indexes)
    },
  }
}
