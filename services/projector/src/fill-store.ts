/**
 * Stores the progress of fills from the state topic in Redis: one field for each partition, beside
 * its position. On Redis Cluster each copy of the positions has the field.
 */
import { randomUUID } from 'node:crypto'
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import { assertStored } from './chunk-store.ts'
import { createIndexes } from './indexes.ts'
import { all, createPositionHash, type StoreOptions, script } from './position-hash.ts'
import { LostChunkError } from './position-store.ts'
import type { AppliedStates } from './state-store.ts'

export interface Fill {
  /**
   * Unique id. Redis refuses a change with another id, so an earlier fill cannot change this
   * progress.
   */
  readonly id: string
  readonly stateTopicId: string
  /** Next offset of the state topic to read. */
  readonly next: string
  /** Offset of the state topic at which the fill ends. */
  readonly end: string
  /** Offset of the raw topic from which events are applied during the fill. */
  readonly rawFrom: string
  /** True if the state topic has the documents of all events before `rawFrom`. */
  readonly isComplete: boolean
  /**
   * True if Redis may have hashes of a lower projection that are newer than their documents. At the
   * end of the fill these hashes are replaced.
   */
  readonly hasKept: boolean
}

/** The members that a fill changes while it runs. */
export type Progress = Pick<Fill, 'next' | 'isComplete' | 'hasKept'> & Partial<Pick<Fill, 'end'>>

export interface FillStore {
  /** Returns the partitions that are being filled. */
  fills(partitions: readonly number[]): Promise<ReadonlyMap<number, Fill>>
  /** Begins to fill a partition. The caller then moves the position to `rawFrom`. */
  beginFill(partition: number, fill: Omit<Fill, 'id' | 'hasKept'>): Promise<void>
  /**
   * Stores the progress after customers were written.
   * @param applied the written customers. Undefined if no customer was written.
   * @returns the new progress. If another process has changed the progress, stores nothing and
   *   returns undefined.
   * @throws LostChunkError if Redis has lost one of the customers or entries.
   */
  moveFill(partition: number, fill: Fill, progress: Progress, applied?: AppliedStates): Promise<Fill | undefined>
  /**
   * Ends a fill, and moves the position back to `to` (default: `rawFrom`). Does nothing if another
   * fill has begun. After this call, the projector applies the events since `to` again, and
   * publishes their documents.
   */
  endFill(partition: number, fill: Fill, to?: string): Promise<void>
}

type Scripts = RedisClient & {
  moveFill(
    ...args: [key: string, field: string, fill: string, to: string, rawFrom: string, token: string]
  ): Promise<number>
}

/**
 * Returns the text by which Redis stores a progress. The last part is missing if `hasKept` is
 * false.
 */
export const progressText = ({ id, stateTopicId, next, end, rawFrom, isComplete, hasKept }: Fill) =>
  [id, stateTopicId, next, end, rawFrom, isComplete ? 'complete' : 'partial', ...(hasKept ? ['kept'] : [])].join('/')

const fillOf = (text: string): Fill | undefined => {
  const [id = '', stateTopicId = '', next = '', end = '', rawFrom = '', extent, kept] = text.split('/')
  const isValid = [next, end, rawFrom].every((offset) => /^\d+$/.test(offset))
  if (!isValid) return undefined
  return { id, stateTopicId, next, end, rawFrom, isComplete: extent === 'complete', hasKept: kept === 'kept' }
}

const least = (offsets: readonly string[]): string =>
  offsets.reduce((low, offset) => (BigInt(offset) < BigInt(low) ? offset : low))

export const createFillStore = (client: RedisClient, options: StoreOptions): FillStore => {
  client.defineCommand('moveFill', { lua: script('move-fill'), numberOfKeys: 1 })
  const redis = client as Scripts
  const clustered = isCluster(client)
  const { copies, fields, read } = createPositionHash(client, options)
  const set = (values: Readonly<Record<string, string>>) => all(copies.map((key) => redis.hset(key, values)))
  const { assertUpdated } = createIndexes(client, options.keyPrefix)
  const moveCopies = (partition: number, from: Fill, to: string, { endPosition = from.rawFrom, token = '' } = {}) =>
    all(
      copies.map((key) => redis.moveFill(key, fields(partition).position, progressText(from), to, endPosition, token)),
    )
  const moveTo = async (partition: number, from: Fill, to: Fill, token = '') => {
    const replies = await moveCopies(partition, from, progressText(to), { token })
    if (replies.includes(-1)) throw new LostChunkError()
    return replies.every((reply) => reply === 1) ? to : undefined
  }

  /**
   * Sets all copies of the progress to the lowest copy. Copies differ if a master was restored, or
   * if a call reached only some masters.
   */
  const level = async (partition: number, texts: readonly (string | undefined)[]): Promise<Fill | undefined> => {
    const found = texts.flatMap((text) => fillOf(text ?? '') ?? [])
    const [first] = found
    if (first === undefined || new Set(texts).size === 1) return first
    const fill = {
      ...first,
      id: randomUUID(),
      next: least(found.map(({ next }) => next)),
      rawFrom: least(found.map(({ rawFrom }) => rawFrom)),
      isComplete: found.every(({ isComplete }) => isComplete),
      hasKept: found.some(({ hasKept }) => hasKept),
    }
    await set({ [fields(partition).fill]: progressText(fill) })
    return fill
  }

  return {
    fills: async (partitions) => {
      const fills = new Map<number, Fill>()
      for (const [partition, texts] of await read(partitions, 'fill')) {
        const fill = await level(partition, texts)
        if (fill) fills.set(partition, fill)
      }
      return fills
    },
    beginFill: async (partition, fill) => {
      const names = fields(partition)
      const state = fill.isComplete ? { [names.state]: `${fill.stateTopicId}/${fill.rawFrom}` } : {}
      await set({ [names.fill]: progressText({ ...fill, id: randomUUID(), hasKept: false }), ...state })
    },
    moveFill: async (partition, fill, progress, applied) => {
      if (!clustered) return moveTo(partition, fill, { ...fill, ...progress }, applied?.token)
      // If a master loses data before it has the new id, the checks below find missing customers or
      // entries. If a master loses data later, it also loses the new id, so the last call fails.
      const marked = await moveTo(partition, fill, { ...fill, id: randomUUID() })
      if (marked === undefined) return undefined
      await assertStored(redis, applied?.stored ?? [], options)
      await assertUpdated(applied?.indexUpdates ?? [])
      return moveTo(partition, marked, { ...marked, ...progress })
    },
    endFill: async (partition, fill, to) => {
      await moveCopies(partition, fill, '', to === undefined ? {} : { endPosition: to })
    },
  }
}
