/**
 * Erases customers in Redis. Each erased customer gets a mark in Redis, so that its late events are
 * not applied.
 */
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import { customerKey, type ErasureRecord, erasedKey } from '@customer-stream/schemas'
import type { ChunkStore, WrittenChunk } from './chunk-store.ts'
import type { Indexes } from './indexes.ts'
import { all, createPositionHash, type StoreOptions, script } from './position-hash.ts'
import { LostChunkError } from './position-store.ts'

/** An erasure with the offset of its record. */
export interface PlacedErasure extends ErasureRecord {
  readonly offset: string
}

export interface ErasureStore {
  /**
   * Erases customers. Does not move the position, but replaces its token, as a chunk does. So a
   * chunk that is being written at the same time fails. The caller then calls `moveAfter`, which
   * stores the position in the erasures topic.
   * @param topicId id of the erasures topic.
   * @returns `erased` or `stale` for each customer. `stale`: the hash was kept, because its event
   *   is later than `erasedAt` of an erasure `until-now`, or because a later erasure of the
   *   customer was executed.
   */
  writeErasures(
    erasures: readonly PlacedErasure[],
    partition: number,
    position: string,
    topicId: string,
  ): Promise<WrittenChunk>
  /** Deletes a customer whose event was received at `erasedAt` (Unix milliseconds) or before. */
  deleteErased(customerUuid: string, erasedAt: number): Promise<void>
}

type Scripts = RedisClient & {
  eraseCustomer(
    ...args: [key: string, mark: string, scope: string, erasedAt: number, partition: string, offset: string]
  ): Promise<[outcome: number, index: string, kept: string]>
  deleteErased(key: string, mark: string, erasedAt: number): Promise<[limit: string, index: string, kept: string]>
}

export const createErasureStore = (
  client: RedisClient,
  options: StoreOptions,
  indexes: Indexes,
  { writeChunk }: Pick<ChunkStore, 'writeChunk'>,
): ErasureStore => {
  client.defineCommand('eraseCustomer', { lua: script('erase-customer'), numberOfKeys: 2 })
  client.defineCommand('deleteErased', { lua: script('delete-erased'), numberOfKeys: 2 })
  const redis = client as Scripts
  const { keyPrefix } = options
  const clustered = isCluster(client)
  const { copies, fields } = createPositionHash(client, options)

  /**
   * Erases the customers, stores a token as a chunk does, then removes the entries in indexes. A
   * late projector cannot add entries after its token was replaced. On Redis Cluster the token is
   * stored last, because there the token shows that no master has lost a write.
   */
  const writeErasures: ErasureStore['writeErasures'] = async (erasures, partition, position, topicId) => {
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
    if (!clustered) {
      const chain = { key: copies[0] ?? '', field: fields(partition).token, token }
      return { isInPlace, stored, token: await indexes.erase(entries, chain) }
    }
    // A master may have lost a mark before the token was stored.
    const marks = await all(erasures.map((each) => redis.exists(markOf(each))))
    if (marks.includes(0)) throw new LostChunkError()
    return { isInPlace, stored, token }
  }

  return {
    writeErasures,
    deleteErased: async (customerUuid, erasedAt) => {
      const [key, mark] = [customerKey(customerUuid, keyPrefix), erasedKey(customerUuid, keyPrefix)]
      const [limit, index, kept] = await redis.deleteErased(key, mark, erasedAt)
      await indexes.erase([{ customerUuid, index, kept, until: Number(limit) }])
    },
  }
}
