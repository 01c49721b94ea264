/**
 * The hash of positions in Redis: one field with the position of each partition, and more fields of
 * the partition. On Redis Cluster each copy of the hash has all fields.
 */
import { readFileSync } from 'node:fs'
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import { clusterPositionsKeys, positionField, positionsKey } from '@customer-stream/schemas'

export interface StoreOptions {
  readonly keyPrefix: string
  readonly topic: string
  readonly projection: number
  /** Settings of the indexes. The default '' means that indexes are off. */
  readonly indexes?: string
}

/**
 * Returns the fields of one partition. If a value has several parts, slashes separate the parts.
 * The Lua scripts have the same suffixes.
 */
const fieldsOf = (position: string) => ({
  position,
  /** Value: the token of the last chunk or erasure. */
  token: `${position}#token`,
  /** Value: start and end of a lookahead's window. */
  window: `${position}#window`,
  /** Value: the progress of a fill from the state topic. The fill's token has a separate field. */
  fill: `${position}#fill`,
  fillToken: `${position}#fill#token`,
  /** Value: id of the state topic, and the offset up to which the topic has all documents. */
  state: `${position}#state`,
  /**
   * Value: id of the erasures topic, next offset to execute, and id of the state topic that has the
   * tombstones. The last id is empty if the state topic is switched off.
   */
  erasures: `${position}#erasures`,
})

export const createPositionHash = (client: RedisClient, { keyPrefix, topic, projection }: StoreOptions) => {
  const copies = isCluster(client) ? clusterPositionsKeys(projection, keyPrefix) : [positionsKey(projection, keyPrefix)]
  const fields = (partition: number) => fieldsOf(positionField(topic, partition))
  return {
    /** The keys of all copies. */
    copies,
    /** Returns the names of a partition's fields. */
    fields,
    /**
     * Reads one field of each partition. Returns, by partition, the value of the field in each
     * copy.
     */
    read: async (
      partitions: readonly number[],
      name: keyof ReturnType<typeof fieldsOf>,
    ): Promise<ReadonlyMap<number, readonly (string | undefined)[]>> => {
      if (partitions.length === 0) return new Map()
      const names = partitions.map((partition) => fields(partition)[name])
      const stored = await all(copies.map((key) => client.hmget(key, ...names)))
      return new Map(partitions.map((partition, i) => [partition, stored.map((values) => values[i] ?? undefined)]))
    },
  }
}

/** Returns the text of a Lua script of the folder `lua`. */
export const script = (name: string): string => readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8')

/**
 * Settles when all calls have settled. Otherwise a retry could begin while calls of the first
 * attempt still hang.
 */
export const all = async <T>(calls: readonly Promise<T>[]): Promise<T[]> => {
  await Promise.allSettled(calls)
  return Promise.all(calls)
}
