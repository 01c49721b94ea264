/** Writes the customers of a fill from the state topic to Redis. */
import { randomUUID } from 'node:crypto'
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import type { CustomerHash } from '@customer-stream/schemas'
import type { IndexedCustomer, Indexes, IndexUpdate } from './indexes.ts'
import { all, createPositionHash, type StoreOptions } from './position-hash.ts'
import { type AppliedCall, CUSTOMERS_PER_CALL, positionArguments, type SnapshotCalls } from './snapshot-calls.ts'

export interface AppliedStates {
  /** The customers that are not erased. */
  readonly stored: readonly CustomerHash[]
  /** The customers whose newer hash Redis keeps only because of `keepsNewer`. */
  readonly kept: readonly CustomerHash[]
  /** The customers whose entries in indexes were updated. */
  readonly indexUpdates: readonly IndexUpdate[]
  /** On a single Redis: token that the last call has stored beside the progress of the fill. */
  readonly token: string
}

export interface StateStore {
  /**
   * Writes each customer of a fill whose event is newer than the stored event. Moves no position.
   * @param fill `keepsNewer`: keep the newer hashes of a lower projection. `progress`: the
   *   progress that the caller expects in Redis. On a single Redis, nothing is written if Redis has
   *   another progress.
   */
  applyStates(
    customers: readonly IndexedCustomer[],
    partition: number,
    fill: {
      readonly progress: string
      readonly rawFrom: string
      readonly isComplete: boolean
      readonly keepsNewer: boolean
    },
  ): Promise<AppliedStates>
}

/**
 * Maximum number of fields and values in one part of a fill. This is the number for 250 customers
 * of usual size. Documents in a compressed batch can be hundreds of times larger than the fetch.
 * Redis closes the connection if a call has more than 1,048,576 arguments, and the fill would then
 * never end.
 */
const VALUES_PER_CALL = 25_000

/** Splits customers, in order, into parts of limited size. */
const partsOf = (customers: readonly IndexedCustomer[]): IndexedCustomer[][] => {
  const parts: IndexedCustomer[][] = []
  let valuesLeft = 0
  for (const customer of customers) {
    const values = customer.fieldsAndValues.length
    const isFull = parts.at(-1)?.length === CUSTOMERS_PER_CALL || values > valuesLeft
    if (parts.length === 0 || isFull) {
      parts.push([])
      valuesLeft = VALUES_PER_CALL
    }
    parts.at(-1)?.push(customer)
    valuesLeft -= values
  }
  return parts
}

export const createStateStore = (
  client: RedisClient,
  options: StoreOptions,
  { applyAtOnce }: SnapshotCalls,
  indexes: Indexes,
): StateStore => {
  const clustered = isCluster(client)
  const { copies, fields } = createPositionHash(client, options)
  return {
    applyStates: async (customers, partition, { progress, rawFrom, isComplete, keepsNewer }) => {
      const { position, fill, fillToken } = fields(partition)
      // A hash of an earlier projection may be newer than the document. Keep this hash if its event
      // will be applied later, or if the state topic may lack the document of this event.
      const place = [`${position}/`, isComplete ? '0' : rawFrom, rawFrom, keepsNewer ? '1' : '']
      const done: AppliedCall[] = []
      let token = ''
      // Send one part after another. A fetch may have many megabytes. On a slow network, parallel
      // calls would exceed the command timeout at every attempt.
      for (const part of partsOf(customers)) {
        if (clustered) {
          const calls = await all(part.map((customer) => applyAtOnce([customer], place)))
          await indexes.update(calls.flatMap(({ indexUpdates }) => indexUpdates))
          done.push(...calls)
          continue
        }
        // As in a chunk, each call requires the token of the previous call.
        const newToken = randomUUID()
        const call = { from: progress, requiredToken: token, newToken }
        const applied = await applyAtOnce(part, place, positionArguments(fill, call, options.keyPrefix))
        if (!applied.isInPlace) return { stored: [], kept: [], indexUpdates: [], token: '' }
        const chain = { key: copies[0] ?? '', field: fillToken, token: newToken }
        token = await indexes.update(applied.indexUpdates, chain)
        done.push(applied)
      }
      const stored = done.flatMap((each) => each.stored)
      return {
        stored: customers.filter((_, i) => stored[i] !== 'erased'),
        kept: done.flatMap((each) => each.kept),
        indexUpdates: done.flatMap((each) => each.indexUpdates),
        token,
      }
    },
  }
}
