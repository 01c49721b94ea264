/** Reads from Redis how far it is filled, and which indexes it has. */
import type { IndexOptions } from '@customer-stream/indexes'
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import { clusterPositionsKeys, type IndexName, positionField, positionsKey } from '@customer-stream/schemas'

export interface PositionsState {
  /**
   * True if each partition has a position, and none is being filled from the state topic. An
   * emptied Redis gets the positions of some partitions before the positions of other partitions.
   */
  readonly isFilled: boolean
  /** Undefined if the projector has stored no indexes. */
  readonly indexes: IndexOptions | undefined
  /**
   * Returns the offset before which Redis has every event. Undefined if Redis does not have the
   * position.
   */
  nextOffset(topic: string, partition: number): number | undefined
}

/** Progress of the projectors. */
export interface Progress extends Omit<PositionsState, 'nextOffset'> {
  /**
   * Next offset to apply of each partition of the raw topic. A partition is missing if a copy of
   * the positions lacks it.
   */
  readonly positions: ReadonlyMap<number, bigint>
  /** Offset before which Redis has every event of each of these partitions. */
  readonly complete: ReadonlyMap<number, bigint>
  /** Number of partitions that are being filled, and of records that the fills must still read. */
  readonly fill: { readonly partitions: number; readonly records: number } | undefined
}

export interface Positions {
  read(): Promise<PositionsState>
  /** @returns undefined if Redis has no positions. */
  readProgress(topic: string): Promise<Progress | undefined>
}

export interface PositionsOptions {
  readonly keyPrefix: string
  readonly projection: number
}

type Hash = Readonly<Record<string, string>>

const isFilled = (hash: Hash): boolean => {
  const fields = Object.keys(hash)
  // A projector of an earlier release does not store the number of partitions.
  const lacksPositions = fields.some((field) => {
    const [, topic] = /^(.*)\/partitions$/.exec(field) ?? []
    if (topic === undefined) return false
    // Check each of these partitions, because a partition that was added later may get its position
    // before a counted partition.
    const counted = Array.from({ length: Number(hash[field]) }, (_, partition) => positionField(topic, partition))
    return counted.some((position) => hash[position] === undefined)
  })
  const hasPosition = fields.some((field) => /\/\d+$/.test(field))
  return hasPosition && !lacksPositions && !fields.some((field) => field.endsWith('#fill'))
}

/** Reads the indexes and the country, which the projector stores as `dealer,email,phone/US`. */
const indexesOf = (hash: Hash): IndexOptions | undefined => {
  const [, text] = Object.entries(hash).find(([field]) => field.endsWith('/indexes')) ?? []
  const [names = '', country] = text?.split('/') ?? []
  return country === undefined ? undefined : { indexes: names.split(',') as IndexName[], country }
}

const isOffset = (text: string | undefined): text is string => text !== undefined && /^\d+$/.test(text)

/** Returns an offset of a partition. */
type OffsetOf = (hash: Hash, field: string) => string | undefined

const positionOf: OffsetOf = (hash, field) => hash[field]

/**
 * Returns the offset before which Redis has every event. Within a lookahead's window (`start/end`)
 * this is the start of the window, because the projector leaves out the events that are superseded
 * within the window.
 */
const completeOf: OffsetOf = (hash, field) => {
  const position = hash[field]
  const [start, end] = hash[`${field}#window`]?.split('/') ?? []
  if (!isOffset(position) || !isOffset(start) || !isOffset(end)) return position
  return BigInt(start) < BigInt(position) && BigInt(position) < BigInt(end) ? start : position
}

/**
 * Returns the lowest copy of an offset, because a single master may have been emptied. Undefined if
 * a copy is missing.
 */
const lowestOf = (copies: readonly Hash[], field: string, offsetOf: OffsetOf): bigint | undefined => {
  const offsets = copies.map((hash) => offsetOf(hash, field))
  return offsets.every(isOffset) ? offsets.map(BigInt).reduce((a, b) => (b < a ? b : a)) : undefined
}

const offsetsIn = (copies: readonly Hash[], topic: string, offsetOf: OffsetOf): ReadonlyMap<number, bigint> => {
  const prefix = positionField(topic, 0).slice(0, -1)
  const fields = Object.keys(copies[0] ?? {}).filter((field) => field.startsWith(prefix))
  return new Map(
    fields.flatMap((field) => {
      const partition = field.slice(prefix.length)
      const lowest = lowestOf(copies, field, offsetOf)
      return isOffset(partition) && lowest !== undefined ? [[Number(partition), lowest] as const] : []
    }),
  )
}

/**
 * Adds up the running fills, which are stored as `id/state topic id/next/end/raw offset/extent`.
 */
const fillIn = (copies: readonly Hash[]): Progress['fill'] => {
  const remaining = new Map<string, number>()
  for (const [field, text] of copies.flatMap((hash) => Object.entries(hash))) {
    const [, , next, end] = text.split('/')
    if (!field.endsWith('#fill') || !isOffset(next) || !isOffset(end)) continue
    remaining.set(field, Math.max(remaining.get(field) ?? 0, Number(BigInt(end) - BigInt(next))))
  }
  return remaining.size === 0
    ? undefined
    : { partitions: remaining.size, records: [...remaining.values()].reduce((a, b) => a + b) }
}

export const createPositions = (redis: RedisClient, { keyPrefix, projection }: PositionsOptions): Positions => {
  // On Redis Cluster each master has a copy.
  const keys = isCluster(redis) ? clusterPositionsKeys(projection, keyPrefix) : [positionsKey(projection, keyPrefix)]
  const readCopies = () => Promise.all(keys.map((key) => redis.hgetall(key)))
  const stateOf = (copies: readonly Hash[]): PositionsState => ({
    isFilled: copies.every(isFilled),
    indexes: indexesOf(copies[0] ?? {}),
    nextOffset: (topic, partition) => {
      const lowest = lowestOf(copies, positionField(topic, partition), completeOf)
      return lowest === undefined ? undefined : Number(lowest)
    },
  })
  return {
    read: async () => stateOf(await readCopies()),
    readProgress: async (topic) => {
      const copies = await readCopies()
      if (copies.every((hash) => Object.keys(hash).length === 0)) return undefined
      const [positions, complete] = [offsetsIn(copies, topic, positionOf), offsetsIn(copies, topic, completeOf)]
      return { ...stateOf(copies), positions, complete, fill: fillIn(copies) }
    },
  }
}
