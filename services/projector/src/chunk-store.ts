/**
 * Writes chunks of customers to Redis. A Redis that fails over or is restored may lose writes. A
 * token beside the position shows whether Redis still has all writes of a chunk.
 */
import { randomUUID } from 'node:crypto'
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import { type CustomerHash, compareVersions, customerKey, META } from '@customer-stream/schemas'
import type { IndexedCustomer, Indexes } from './indexes.ts'
import { all, createPositionHash, type StoreOptions } from './position-hash.ts'
import { LostChunkError, type MoveOptions, type PositionStore } from './position-store.ts'
import { CUSTOMERS_PER_CALL, positionArguments, type SnapshotCalls, type StoreOutcome } from './snapshot-calls.ts'

export interface AppliedChunk {
  readonly moved: boolean
  readonly stored: readonly StoreOutcome[]
}

/** A chunk whose customers are written, and whose position has not moved yet. */
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
   * is before this offset, because Kafka no longer has the record of this hash.
   */
  readonly oldest?: string | undefined
}

export interface ChunkStore {
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
   * Writes a chunk whose documents will be published, but does not move the position. After the
   * publication of the documents, `moveAfter` moves the position, if no other process has written a
   * chunk of this partition in between. While the partition is being filled, nothing is written
   * (`isInPlace` is false), because Redis lacks hashes to compare with.
   */
  writeChunk(
    customers: readonly IndexedCustomer[],
    partition: number,
    from: string | undefined,
    to: string,
    options?: Pick<ChunkOptions, 'oldest'>,
  ): Promise<WrittenChunk>
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

type Write = (
  customers: readonly IndexedCustomer[],
  partition: number,
  from: string | undefined,
  to: string,
  options: Pick<ChunkOptions, 'oldest' | 'window' | 'stateTopicId'> & { readonly isPublished: boolean },
) => Promise<WrittenChunk & { readonly hasMoved?: boolean }>

export const createChunkStore = (
  client: RedisClient,
  options: StoreOptions,
  { applyAtOnce, mayAddEntries }: SnapshotCalls,
  indexes: Indexes,
  { moveAfter }: Pick<PositionStore, 'moveAfter'>,
): ChunkStore => {
  const { keyPrefix } = options
  const { copies, fields } = createPositionHash(client, options)

  /**
   * Writes a chunk in several calls, then the remaining entries in indexes. Each call stores a
   * token beside the position, and the next call requires this token. A replica or an append-only
   * file can lose only its last writes. So a Redis with the last token also has the customers and
   * entries of all calls. If one call is enough, this call also moves the position.
   */
  const writeOnOne: Write = async (customers, partition, from, to, { oldest = '0', isPublished, ...move }) => {
    const { position, token: field } = fields(partition)
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
    const [key = ''] = copies
    const chain = { key, field, token: token(calls) }
    return { isInPlace: true, stored, token: await indexes.update(indexUpdates, chain) }
  }

  /**
   * Writes the customers, and stores a token beside each copy of the position. Then checks that the
   * customers and their entries are still stored. One call cannot write both customers and
   * position, because they are in different slots. So if a replica replaces a master, the new
   * master may lack some of these writes. If this happens before the token is stored, the check
   * finds that customers or entries are missing. If this happens after the token was stored, a new
   * master that lacks the customers also lacks the token, so `moveAfter` fails. The check of the
   * position is last, so that a late projector publishes nothing.
   */
  const writeOnCluster: Write = async (customers, partition, from, to, { oldest = '0', isPublished }) => {
    const { position, token: tokenField, fill: fillField } = fields(partition)
    // Each call has one customer, because two customers rarely share a slot.
    const applied = await all(customers.map((customer) => applyAtOnce([customer], [`${position}/`, oldest, to, ''])))
    const indexUpdates = applied.flatMap((each) => each.indexUpdates)
    await indexes.update(indexUpdates)
    const token = randomUUID()
    await all(copies.map((key) => client.hset(key, tokenField, token)))
    const stored = applied.flatMap((each) => each.stored)
    const written = customers.filter((_, i) => stored[i] !== 'erased')
    await assertStored(client, written, options)
    await indexes.assertUpdated(indexUpdates)
    const found = isPublished ? await all(copies.map((key) => client.hmget(key, position, fillField))) : []
    const isExpected = (at: string | null | undefined) => at === (from ?? null) || at === to
    return { isInPlace: found.every(([at, fill]) => isExpected(at) && fill === null), stored, token }
  }
  const write = isCluster(client) ? writeOnCluster : writeOnOne
  const writeChunk: ChunkStore['writeChunk'] = (customers, partition, from, to, { oldest = '0' } = {}) =>
    write(customers, partition, from, to, { oldest, isPublished: true })

  const applyChunk: ChunkStore['applyChunk'] = async (customers, partition, from, to, chunk = {}) => {
    const written = await write(customers, partition, from, to, { ...chunk, isPublished: false })
    const { isInPlace, hasMoved, stored, token } = written
    if (!isInPlace) return { moved: false, stored: [] }
    return { moved: hasMoved || (await moveAfter(partition, from, to, token, chunk)), stored }
  }

  return { applyChunk, writeChunk }
}
