import type { Redis } from './client.ts'

/** How well Redis keeps what it is given, as far as INFO tells; a value is undefined where a managed service hides it. */
export interface Durability {
  readonly appendOnly: boolean | undefined
  readonly evictionPolicy: string | undefined
  /** Whether a customer may be dropped for want of memory. Our keys never expire, so the policies for keys that do are harmless. */
  readonly mayEvict: boolean
}

/** Rejects while Redis does not answer. */
export const readDurability = async (redis: Redis): Promise<Durability> => {
  const [memory, persistence] = await Promise.all([redis.info('memory'), redis.info('persistence')])
  const value = (info: string, name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
  const evictionPolicy = value(memory, 'maxmemory_policy')
  const aof = value(persistence, 'aof_enabled')
  return {
    appendOnly: aof === undefined ? undefined : aof === '1',
    evictionPolicy,
    mayEvict: evictionPolicy?.startsWith('allkeys') ?? false,
  }
}
