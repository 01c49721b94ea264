import type { RedisClient } from '@customer-stream/runtime/redis'
import { customerKey, erasedKey, indexKey, type ProjectorReport } from '@customer-stream/schemas'
import { type ChunkStore, createChunkStore } from './chunk-store.ts'
import { createErasureStore, type ErasureStore } from './erasure-store.ts'
import { createIndexes } from './indexes.ts'
import { all, createPositionHash, type StoreOptions, script } from './position-hash.ts'
import { createPositionStore, type PositionStore } from './position-store.ts'
import { saveReport } from './report-store.ts'
import { createSnapshotCalls } from './snapshot-calls.ts'
import { createStateStore, type StateStore } from './state-store.ts'

export interface Store extends PositionStore, ChunkStore, ErasureStore, StateStore {
  /** Announces to other projectors that this instance uses this Redis. Valid for a minute. */
  announce(instance: string): Promise<void>
  /** Stores the counters of this instance for the reader. */
  saveReport(instance: string, report: ProjectorReport): Promise<void>
  /** Returns the given instances that use this Redis. */
  announced(instances: readonly string[]): Promise<ReadonlySet<string>>
  ping(): Promise<void>
}

export interface Rights {
  /** Returns the commands that Redis denies on the projector's keys. Empty if Redis denies none. */
  deniedCommands(): Promise<string[]>
}

const ANNOUNCEMENT_MS = 60_000

type Scripts = RedisClient & {
  checkRights(key: string, kind: 'hash' | 'index'): Promise<string[]>
}

/**
 * Creates the store, which reads and writes hashes and positions in Redis. A method that rejects
 * may be called again with the same arguments.
 */
export const createStore = (client: RedisClient, options: StoreOptions): Store & Rights => {
  client.defineCommand('checkRights', { lua: script('check-rights'), numberOfKeys: 1 })
  const redis = client as Scripts
  const { keyPrefix } = options
  const { copies } = createPositionHash(client, options)
  const memberKeyPrefix = `${keyPrefix}positions:member:`
  const indexes = createIndexes(client, keyPrefix)
  const snapshotCalls = createSnapshotCalls(client, options)
  const positionStore = createPositionStore(client, options)
  const chunkStore = createChunkStore(client, options, snapshotCalls, indexes, positionStore)

  return {
    ...positionStore,
    ...chunkStore,
    ...createErasureStore(client, options, indexes, chunkStore),
    ...createStateStore(client, options, snapshotCalls, indexes),
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
