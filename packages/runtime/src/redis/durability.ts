import { mastersOf, type Redis, type RedisClient } from './client.ts'

/**
 * Durability of Redis according to INFO. A value is undefined if a managed service hides the value.
 */
export interface Durability {
  readonly appendOnly: boolean | undefined
  readonly evictionPolicy: string | undefined
  /**
   * True if Redis may evict customers. A policy `volatile-…` evicts no customer, because our keys
   * never expire.
   */
  readonly mayEvict: boolean
  /** True if the server is a node of a Redis Cluster. */
  readonly clustered: boolean
}

const durabilityOf = async (redis: Redis): Promise<Durability> => {
  const [memory, persistence, cluster] = await Promise.all([
    redis.info('memory'),
    redis.info('persistence'),
    redis.info('cluster'),
  ])
  const value = (info: string, name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
  const evictionPolicy = value(memory, 'maxmemory_policy')
  const aof = value(persistence, 'aof_enabled')
  return {
    appendOnly: aof === undefined ? undefined : aof === '1',
    evictionPolicy,
    mayEvict: evictionPolicy?.startsWith('allkeys') ?? false,
    clustered: value(cluster, 'cluster_enabled') === '1',
  }
}

/** Reads the durability of all servers that accept writes. Rejects if a server does not answer. */
export const readDurability = (redis: RedisClient): Promise<Durability[]> =>
  Promise.all(mastersOf(redis).map(durabilityOf))
