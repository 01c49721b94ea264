import { readFileSync } from 'node:fs'
import type { Redis } from '@customer-stream/runtime/redis'
import { type CustomerHash, customerKey, positionField, positionsKey } from '@customer-stream/schemas'

/** What became of one snapshot in Redis. */
export type StoreOutcome = 'applied' | 'duplicate' | 'stale'

export interface Store {
  /** Writes what is newer; the outcomes are in the order given. At most one snapshot per customer. */
  apply(customers: readonly CustomerHash[]): Promise<StoreOutcome[]>
  /** The next offset to apply of each partition, undefined where Redis knows none. */
  positions(partitions: readonly number[]): Promise<Map<number, string | undefined>>
  /** Moves a position if it is where `from` says. @returns whether it now is `to`. */
  movePosition(partition: number, from: string | undefined, to: string): Promise<boolean>
  ping(): Promise<void>
}

const outcomes = new Map<number, StoreOutcome>([
  [1, 'applied'],
  [0, 'duplicate'],
  [-1, 'stale'],
])

const script = (name: string): string => readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8')

type Scripts = Redis & {
  applySnapshots(keyCount: number, keys: readonly string[], args: readonly (string | number)[]): Promise<number[]>
  movePosition(key: string, field: string, from: string, to: string): Promise<number>
}

export interface StoreOptions {
  readonly keyPrefix: string
  readonly topic: string
  readonly projection: number
}

/** The projection in Redis. Every method rejects while Redis cannot do its work, and may then be called again with the same arguments. */
export const createStore = (client: Redis, { keyPrefix, topic, projection }: StoreOptions): Store => {
  client.defineCommand('applySnapshots', { lua: script('apply-snapshots') })
  client.defineCommand('movePosition', { lua: script('move-position'), numberOfKeys: 1 })
  const redis = client as Scripts
  const positions = positionsKey(projection, keyPrefix)
  const fieldOf = (partition: number) => positionField(topic, partition)

  return {
    apply: async (customers) => {
      if (customers.length === 0) return []
      const keys = customers.map(({ customerUuid }) => customerKey(customerUuid, keyPrefix))
      const args: (string | number)[] = [projection]
      for (const { version, fieldsAndValues } of customers) {
        args.push(version.timestamp, version.id, fieldsAndValues.length)
        for (const part of fieldsAndValues) args.push(part)
      }
      const replies = await redis.applySnapshots(keys.length, keys, args)
      return customers.map((_, i) => {
        const outcome = outcomes.get(replies[i] ?? Number.NaN)
        // Counting an unknown reply as done would move the position over an event that may not be stored.
        if (outcome === undefined) throw new Error(`apply-snapshots.lua replied ${String(replies[i])}`)
        return outcome
      })
    },
    positions: async (partitions) => {
      if (partitions.length === 0) return new Map()
      const stored = await redis.hmget(positions, ...partitions.map(fieldOf))
      return new Map(partitions.map((partition, i) => [partition, stored[i] ?? undefined]))
    },
    movePosition: async (partition, from, to) => (await redis.movePosition(positions, fieldOf(partition), from ?? '', to)) === 1,
    ping: async () => {
      await redis.ping()
    },
  }
}
