/** Reads from Redis how far it is filled, and which indexes it has. */
import type { IndexOptions } from '@customer-stream/indexes'
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import { clusterPositionsKeys, type IndexName, positionField, positionsKey } from '@customer-stream/schemas'

export interface PositionsState {
  /**
   * True if the projector has stored positions, and fills no partition from the state topic. A
   * Redis that was emptied has no positions.
   */
  readonly isFilled: boolean
  /** Undefined if the projector has stored no indexes. */
  readonly indexes: IndexOptions | undefined
  /** Returns the offset of the next record to apply. Undefined if Redis does not have it. */
  nextOffset(topic: string, partition: number): number | undefined
}

export interface Positions {
  read(): Promise<PositionsState>
}

export interface PositionsOptions {
  readonly keyPrefix: string
  readonly projection: number
}

type Hash = Readonly<Record<string, string>>

const isFilled = (hash: Hash): boolean => {
  const fields = Object.keys(hash)
  return fields.some((field) => /\/\d+$/.test(field)) && !fields.some((field) => field.endsWith('#fill'))
}

/** The projector stores its indexes and its country as `dealer,email,phone/US`. */
const indexesOf = (hash: Hash): IndexOptions | undefined => {
  const [, text] = Object.entries(hash).find(([field]) => field.endsWith('/indexes')) ?? []
  const [names = '', country] = text?.split('/') ?? []
  return country === undefined ? undefined : { indexes: names.split(',') as IndexName[], country }
}

export const createPositions = (redis: RedisClient, { keyPrefix, projection }: PositionsOptions): Positions => {
  // On Redis Cluster each master has a copy.
  const keys = isCluster(redis) ? clusterPositionsKeys(projection, keyPrefix) : [positionsKey(projection, keyPrefix)]
  return {
    read: async () => {
      const copies = await Promise.all(keys.map((key) => redis.hgetall(key)))
      return {
        isFilled: copies.every(isFilled),
        indexes: indexesOf(copies[0] ?? {}),
        nextOffset: (topic, partition) => {
          // The position is the lowest copy, because a single master may have been emptied.
          const offsets = copies.map((copy) => Number(copy[positionField(topic, partition)]))
          const lowest = Math.min(...offsets)
          return Number.isNaN(lowest) ? undefined : lowest
        },
      }
    },
  }
}
