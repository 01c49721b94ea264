/**
 * Keeps the indexes in step with the customers' hashes. An index has a sorted set for each term. On
 * a single Redis, apply-snapshots.lua itself adds the entries of a customer if no entry must be
 * removed. All other changes of entries are made here.
 *
 * A reader checks each entry against the customer's hash. So a superfluous entry is harmless, but a
 * missing entry is a fault. Entries are added before the position moves. An entry is removed only
 * if no newer event has added the same entry. The field `_index` of a hash names all entries that
 * may exist. So an erasure finds every entry, even after a crash.
 */
import { randomUUID } from 'node:crypto'
import { type IndexOptions, indexTerms } from '@customer-stream/indexes'
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import {
  type CustomerHash,
  type CustomerState,
  currentTerms,
  customerKey,
  erasedKey,
  filedTerms,
  type IndexTerm,
  indexKey,
  META,
} from '@customer-stream/schemas'
import { all, script } from './position-hash.ts'
import { LostChunkError } from './position-store.ts'

/** A customer with its terms. */
export interface IndexedCustomer extends CustomerHash {
  /** Undefined if indexes are switched off. */
  readonly terms?: readonly IndexTerm[]
}

/** Returns a function that returns the terms of a customer. Undefined if indexes are off. */
export const termsOf = (options: IndexOptions | undefined) =>
  options && ((state: CustomerState): readonly IndexTerm[] => indexTerms(state, options))

/** Returns the text that the field `_index` has for these terms. */
export const textOf = (terms: readonly IndexTerm[] = []): string => (terms.length === 0 ? '' : JSON.stringify(terms))

/** A customer whose entries must be updated after its event was compared with the hash. */
export interface IndexUpdate {
  readonly customer: IndexedCustomer
  /** True if the hash has the event of the customer. False if the event is stale or erased. */
  readonly isCurrent: boolean
  /**
   * The field `_index` of the hash. Undefined on a single Redis if the event has the same terms as
   * the event that it replaces.
   */
  readonly index: string | undefined
}

/** The entries of an erased customer. */
export interface ErasedEntries {
  readonly customerUuid: string
  /** The field `_index` of the mark. '' if the customer has no entries. */
  readonly index: string
  /** The field `_index` of a newer hash that was kept. The entries of this hash stay. */
  readonly kept: string
  /** Timestamp, Unix milliseconds. Entries of newer events stay. */
  readonly until: number
}

/**
 * A token beside the position, on a single Redis. Each call requires the token of the previous
 * call, and stores a new token. A failover loses only the last writes, so a Redis with the last
 * token has the entries of all calls.
 */
export interface Chain {
  /** Key of the hash of positions. */
  readonly key: string
  readonly field: string
  readonly token: string
}

export interface Indexes {
  /**
   * Updates the entries of these customers. May be called again with the same customers.
   * @returns the token of the last call. '' if there is no chain.
   * @throws LostChunkError if another token is stored: another process has written to the
   *   partition, or Redis has lost writes.
   */
  update(indexUpdates: readonly IndexUpdate[], chain?: Chain): Promise<string>
  /**
   * Removes the entries of erased customers, then the field `_index` of each mark. Resolves and
   * rejects like {@link Indexes.update}.
   */
  erase(erased: readonly ErasedEntries[], chain?: Chain): Promise<string>
  /**
   * Checks the result of {@link Indexes.update} on Redis Cluster, which has no chain.
   * @throws LostChunkError if a master has lost an entry, or if another process has changed the
   *   terms of a customer in the meantime. That process may have removed these entries before they
   *   were added.
   */
  assertUpdated(indexUpdates: readonly IndexUpdate[]): Promise<void>
}

/** `+`: add. `-`: remove an older entry. `=`: remove an equal or older entry. */
type Action = '+' | '-' | '='

interface Entry {
  readonly action: Action
  readonly term: IndexTerm
  readonly customerUuid: string
  readonly timestamp: number
}

type Scripts = RedisClient & {
  updateTerms(keyCount: number, keys: readonly string[], args: readonly (string | number)[]): Promise<number[]>
  confirmTerms(keyCount: number, keys: readonly string[], args: readonly string[]): Promise<number[]>
}

/**
 * Maximum entries of a call. Redis does nothing else during a call, which takes 1000 entries ×
 * about 2 µs = 2 ms.
 */
const ENTRIES_PER_CALL = 1000

const chunksOf = <T>(items: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size))

const entriesOf = ({ customer, isCurrent, index }: IndexUpdate): Entry[] => {
  const { customerUuid, version, terms = [] } = customer
  const entry = (action: Action) => (term: IndexTerm) => ({ action, term, customerUuid, timestamp: version.timestamp })
  // The score of an entry in a dealer's index is the time of the customer's last change.
  if (index === undefined) return terms.filter((term) => term.startsWith('dealer:')).map(entry('+'))
  const indexed = new Set(filedTerms(index))
  // The event is not in the hash, so its entries must not stay. A projector that was paused may
  // have added these entries late.
  if (!isCurrent) return terms.filter((term) => !indexed.has(term)).map(entry('='))
  for (const term of terms) indexed.delete(term)
  return [...terms.map(entry('+')), ...[...indexed].map(entry('-'))]
}

/** Writes entries and fields in calls of a size that blocks Redis only for a moment. */
const createEntryWriter = (client: RedisClient, keyPrefix: string) => {
  client.defineCommand('updateTerms', { lua: script('update-terms') })
  client.defineCommand('confirmTerms', { lua: script('confirm-terms') })
  const redis = client as Scripts
  // On Redis Cluster each key may be in another slot.
  const perCall = isCluster(client) ? 1 : ENTRIES_PER_CALL

  /** @returns the last token, and the customers with an entry that was not removed. */
  const write = async (entries: readonly Entry[], chain: Chain | undefined) => {
    let token = chain?.token ?? ''
    const kept = new Set<string>()
    const calls = chunksOf(entries, perCall).map(async (part) => {
      const keys = part.map(({ term }) => indexKey(term, keyPrefix))
      const args: (string | number)[] = ['', '', '']
      if (chain !== undefined) {
        const required = token
        token = randomUUID()
        keys.push(chain.key)
        args.splice(0, 3, chain.field, required, token)
      }
      for (const { action, customerUuid, timestamp } of part) args.push(action, customerUuid, timestamp)
      const [state, ...stayed] = await redis.updateTerms(keys.length, keys, args)
      if (state !== 1) throw new LostChunkError()
      for (const number of stayed) kept.add(part[number - 1]?.customerUuid ?? '')
    })
    await all(calls)
    return { token, kept }
  }

  /** @returns the fields that have changed and were not replaced. */
  const confirm = async <T extends { readonly key: string; readonly old: string; readonly text: string }>(
    fields: readonly T[],
  ): Promise<T[]> => {
    const parts = chunksOf(fields, perCall).map(async (part) => {
      const keys = part.map(({ key }) => key)
      const texts = part.flatMap(({ old, text }) => [old, text])
      const changed = new Set(await redis.confirmTerms(part.length, keys, texts))
      return part.filter((_, i) => changed.has(i + 1))
    })
    return (await all(parts)).flat()
  }

  return { write, confirm }
}

export const createIndexes = (redis: RedisClient, keyPrefix: string): Indexes => {
  const { write, confirm } = createEntryWriter(redis, keyPrefix)
  return {
    update: async (indexUpdates, chain) => {
      const { token, kept } = await write(indexUpdates.flatMap(entriesOf), chain)
      const fields = indexUpdates.flatMap(({ customer, isCurrent, index }) => {
        if (index === undefined || !isCurrent) return []
        // Redis keeps an entry that has the same timestamp, so the field must still name its term.
        const text = kept.has(customer.customerUuid) ? index.replace(/^\?/, '') : textOf(customer.terms)
        // Confirm a field even if its text stays the same. Another process may have changed the
        // field before these entries were added.
        if (text === '' && index === '') return []
        return [{ key: customerKey(customer.customerUuid, keyPrefix), old: index, text, customer }]
      })
      const changed = await confirm(fields)
      if (changed.length === 0) return token
      // A newer event was applied in the meantime. The removals for the newer event may have run
      // before these entries were added.
      const stale = changed.map(async ({ key, customer }) =>
        entriesOf({ customer, isCurrent: false, index: (await redis.hget(key, META.index)) ?? '' }),
      )
      return (await write((await all(stale)).flat(), chain && { ...chain, token })).token
    },
    erase: async (erased, chain) => {
      const entries = erased.flatMap(({ customerUuid, index, kept, until }) => {
        // An entry of the kept hash may come from an event before `until`.
        const named = filedTerms(kept)
        const removed = filedTerms(index).filter((term) => !named.includes(term))
        return removed.map((term) => ({ action: '=' as const, term, customerUuid, timestamp: until }))
      })
      const { token } = await write(entries, chain)
      const marks = erased.filter(({ index }) => index !== '')
      await confirm(marks.map((each) => ({ key: erasedKey(each.customerUuid, keyPrefix), old: each.index, text: '' })))
      return token
    },
    assertUpdated: async (indexUpdates) => {
      const added = indexUpdates.flatMap(entriesOf).filter(({ action }) => action === '+')
      const changed = indexUpdates.filter(({ index, isCurrent }) => index !== undefined && isCurrent)
      const scores = await all(
        added.map(({ term, customerUuid }) => redis.zscore(indexKey(term, keyPrefix), customerUuid)),
      )
      const stored = await all(
        changed.map(({ customer }) => redis.hget(customerKey(customer.customerUuid, keyPrefix), META.index)),
      )
      const isAsWritten = (index: string | null | undefined, i: number) =>
        textOf(currentTerms(index ?? undefined)) === textOf(changed[i]?.customer.terms)
      if (scores.includes(null) || !stored.every(isAsWritten)) throw new LostChunkError()
    },
  }
}
