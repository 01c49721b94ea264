import { readFileSync } from 'node:fs'
import type { TopicIdentity } from '@customer-stream/runtime/kafka'
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import { type CustomerHash, clusterPositionsKeys, customerKey, positionField, positionsKey } from '@customer-stream/schemas'

/** What became of one snapshot in Redis. */
export type StoreOutcome = 'applied' | 'duplicate' | 'stale'

export interface Store {
  /** Writes what is newer; the outcomes are in the order given. At most one snapshot per customer. */
  apply(customers: readonly CustomerHash[]): Promise<StoreOutcome[]>
  /** The next offset to apply of each partition, undefined where Redis knows none. */
  positions(partitions: readonly number[]): Promise<Map<number, string | undefined>>
  /** Moves a position if it is where `from` says. @returns whether it now is `to`. */
  movePosition(partition: number, from: string | undefined, to: string): Promise<boolean>
  /** Positions as they are, without a change: the lowest of the copies. */
  peekPositions(partitions: readonly number[]): Promise<ReadonlyMap<number, string | undefined>>
  /**
   * Ties the positions to the topic that they count in. Positions of a topic that was deleted and created again are deleted.
   * @returns the number of positions deleted.
   * @throws OtherClusterError if they belong to another cluster and `startOver` is false.
   */
  claimPositions(identity: TopicIdentity, startOver: boolean): Promise<number>
  /** Tells other projectors that this instance works on this Redis. Holds for a minute. */
  announce(instance: string): Promise<void>
  /** Those of the instances that work on this Redis. */
  announced(instances: readonly string[]): Promise<ReadonlySet<string>>
  ping(): Promise<void>
}

/** The positions in Redis count in another Kafka cluster. A person must decide, so nothing is applied. */
export class OtherClusterError extends Error {
  override readonly name = 'OtherClusterError'
}

const outcomes = new Map<number, StoreOutcome>([
  [1, 'applied'],
  [0, 'duplicate'],
  [-1, 'stale'],
])

const ANNOUNCEMENT_MS = 60_000

/** Redis does nothing else during a call, some 20 µs for each customer. */
const CUSTOMERS_PER_CALL = 250

const script = (name: string): string => readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8')

type Scripts = RedisClient & {
  applySnapshots(keyCount: number, keys: readonly string[], args: readonly (string | number)[]): Promise<number[]>
  movePosition(key: string, field: string, from: string, to: string): Promise<number>
  claimPositions(key: string, topic: string, cluster: string, topicId: string, startOver: string): Promise<Claim>
}

type Claim = ['claimed'] | ['deleted', number, string] | ['refused', string]

export interface StoreOptions {
  readonly keyPrefix: string
  readonly topic: string
  readonly projection: number
}

const rank = (offset: string): bigint => (/^\d+$/.test(offset) ? BigInt(offset) : -1n)

/** Undefined where one of them is missing. */
const lowest = (offsets: readonly (string | undefined)[]): string | undefined =>
  offsets.reduce((low, offset) => (low === undefined || offset === undefined ? undefined : rank(offset) < rank(low) ? offset : low))

/** Ends when all have ended: a repetition must not pile up on calls that still hang. */
const all = async <T>(calls: readonly Promise<T>[]): Promise<T[]> => {
  await Promise.allSettled(calls)
  return Promise.all(calls)
}

/** The projection in Redis. Every method rejects while Redis cannot do its work, and may then be called again with the same arguments. */
export const createStore = (client: RedisClient, { keyPrefix, topic, projection }: StoreOptions): Store => {
  client.defineCommand('applySnapshots', { lua: script('apply-snapshots') })
  client.defineCommand('movePosition', { lua: script('move-position'), numberOfKeys: 1 })
  client.defineCommand('claimPositions', { lua: script('claim-positions'), numberOfKeys: 1 })
  const redis = client as Scripts
  const clustered = isCluster(client)
  const copies = clustered ? clusterPositionsKeys(projection, keyPrefix) : [positionsKey(projection, keyPrefix)]
  const fieldOf = (partition: number) => positionField(topic, partition)
  const memberKeyPrefix = `${keyPrefix}positions:member:`

  // A slot of a cluster holds hardly ever two customers of a chunk, and a call with two keys would have to wait while a slot moves (TRYAGAIN).
  const customersPerCall = clustered ? 1 : CUSTOMERS_PER_CALL
  const applyAtOnce = async (customers: readonly CustomerHash[]): Promise<StoreOutcome[]> => {
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
  }

  /** A master that was set back has a lower position than the others: these follow it, since what is applied twice does no harm. */
  const level = async (partition: number, offsets: readonly (string | undefined)[]): Promise<string | undefined> => {
    const low = lowest(offsets)
    if (low === undefined) return undefined
    await all(copies.flatMap((key, i) => (offsets[i] === low ? [] : [redis.movePosition(key, fieldOf(partition), offsets[i] ?? '', low)])))
    return low
  }

  return {
    apply: async (customers) => {
      const calls: Promise<StoreOutcome[]>[] = []
      for (let start = 0; start < customers.length; start += customersPerCall)
        calls.push(applyAtOnce(customers.slice(start, start + customersPerCall)))
      return (await all(calls)).flat()
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
    movePosition: async (partition, from, to) => {
      const moved = await all(copies.map((key) => redis.movePosition(key, fieldOf(partition), from ?? '', to)))
      return moved.every((reply) => reply === 1)
    },
    peekPositions: async (partitions) => {
      const stored = await all(copies.map((key) => redis.hmget(key, ...partitions.map(fieldOf))))
      return new Map(partitions.map((partition, i) => [partition, lowest(stored.map((offsets) => offsets[i] ?? undefined))]))
    },
    claimPositions: async ({ clusterId = '', topicId = '' }, startOver) => {
      const claims = await all(copies.map((key) => redis.claimPositions(key, topic, clusterId, topicId, startOver ? '1' : '0')))
      let deleted = 0
      for (const [claim, detail] of claims) {
        if (claim === 'refused') {
          throw new OtherClusterError(
            `the positions in Redis belong to the Kafka cluster ${detail}, and KAFKA_BROKERS leads to the cluster ${clusterId}. ` +
              'Nothing is applied. Correct KAFKA_BROKERS, REDIS_URL or REDIS_KEY_PREFIX. If the cluster was replaced on purpose, ' +
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
    // Not PING: this asks every master, and in each its part of the projection.
    ping: async () => {
      await all(copies.map((key) => redis.exists(key)))
    },
  }
}
