import { mastersOf, type Redis, type RedisClient } from './client.ts'

/** How well Redis keeps what it is given, as far as INFO tells; a value is undefined where a managed service hides it. */
export interface Durability {
  readonly appendOnly: boolean | undefined
  readonly evictionPolicy: string | undefined
  /** Whether a customer may be dropped for lack of memory. Our keys never expire, so the policies for keys that do are harmless. */
  readonly mayEvict: boolean
  /** Whether the server is a node of a Redis Cluster. */
  readonly clustered: boolean
}

const durabilityOf = async (redis: Redis): Promise<Durability> => {
  const [memory, persistence, cluster] = await Promise.all([redis.info('memory'), redis.info('persistence'), redis.info('cluster')])
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

/** Reads the durability of every server that takes writes. Rejects if one does not answer. */
export const readDurability = (redis: RedisClient): Promise<Durability[]> => Promise.all(mastersOf(redis).map(durabilityOf))
