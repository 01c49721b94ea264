/**
 * Compares the indexes in Redis with the hashes of the customers, in both directions. Reads a page
 * of keys at a time, so memory does not grow with the number of customers. Because the services may
 * write at the same time, each difference is read a second time before it is reported.
 */
import { type IndexOptions, indexTerms } from '@customer-stream/indexes'
import { isCluster, mastersOf, type RedisClient } from '@customer-stream/runtime/redis'
import {
  type CustomerState,
  clusterPositionsKeys,
  currentTerms,
  customerKey,
  erasedKey,
  filedTerms,
  type IndexName,
  type IndexTerm,
  indexKey,
  positionsKey,
} from '@customer-stream/schemas'
import { customersInRedis } from './customers-in-redis.ts'

export interface ComparedIndexes {
  readonly redis: RedisClient
  readonly keyPrefix: string
  readonly projection: number
  /** Name of the topic of customers. */
  readonly topic: string
  readonly onWrong: (customerUuid: string, reason: string) => void
  readonly signal?: AbortSignal | undefined
}

/** @throws Error if the customers of this projection have no indexes. */
export const readIndexOptions = async ({
  redis,
  keyPrefix,
  projection,
  topic,
}: Pick<ComparedIndexes, 'redis' | 'keyPrefix' | 'projection' | 'topic'>): Promise<IndexOptions> => {
  const [key = ''] = isCluster(redis)
    ? clusterPositionsKeys(projection, keyPrefix)
    : [positionsKey(projection, keyPrefix)]
  const [names = '', country = ''] = (await redis.hget(key, `${topic}/indexes`))?.split('/') ?? []
  if (names === '')
    throw new Error(
      `projection ${projection} has no indexes: its projectors have INDEXES=none, or are an older release`,
    )
  return { indexes: names.split(',') as IndexName[], country }
}

const parsed = (text: string | null | undefined): unknown => {
  try {
    return JSON.parse(text ?? 'null')
  } catch {
    return undefined
  }
}

const FIELDS = ['_index', 'dealerUuid', 'customerKey', 'phoneNumbers', 'emails', 'vehicles'] as const

/** Returns the terms of a hash, and its field `_index`. */
const readTerms = async ({ redis, keyPrefix }: ComparedIndexes, customerUuid: string, options: IndexOptions) => {
  const [index, dealerUuid, key, phoneNumbers, emails, vehicles] = await redis.hmget(
    customerKey(customerUuid, keyPrefix),
    ...FIELDS,
  )
  const customer = { customerKey: key, phoneNumbers: parsed(phoneNumbers), emails: parsed(emails) }
  const state = { customer, vehicles: parsed(vehicles), dealerUuid } as CustomerState
  // The hash stores a number or an object as JSON text. Only a value that was a text in the event
  // has a term.
  const mayBeText = (text: string | null | undefined) => text !== 'null' && parsed(text) === undefined
  const isDealerText = mayBeText(dealerUuid)
  const isCertain = (term: IndexTerm) =>
    !/^(key|dealer):/.test(term) || (isDealerText && (term.startsWith('dealer:') || mayBeText(key)))
  return { index: index ?? undefined, terms: indexTerms(state, options).filter(isCertain) }
}

/** Returns the problem of a customer's index entries, or undefined. */
const missingOf = async (compared: ComparedIndexes, customerUuid: string, options: IndexOptions) => {
  const { index, terms } = await readTerms(compared, customerUuid, options)
  const named = currentTerms(index)
  const unnamed = terms.filter((term) => !named.includes(term))
  if (unnamed.length > 0) return `lacks ${unnamed.length} terms in its field _index`
  const { redis, keyPrefix } = compared
  const scores = await Promise.all(named.map((term) => redis.zscore(indexKey(term, keyPrefix), customerUuid)))
  const missing = scores.filter((score) => score === null).length
  return missing > 0 ? `is missing in ${missing} of its indexes` : undefined
}

/**
 * Returns true if the customer may have the entry: the field `_index` of the hash or of the erasure
 * mark names the entry. On Redis Cluster, a customer with a hash may have any entry, because a
 * failover may bring a removed entry back.
 */
const mayHave = async ({ redis, keyPrefix }: ComparedIndexes, customerUuid: string, term: IndexTerm) => {
  const keys = [customerKey(customerUuid, keyPrefix), erasedKey(customerUuid, keyPrefix)] as const
  if (isCluster(redis) && (await redis.exists(keys[0])) === 1) return true
  const fields = await Promise.all(keys.map((key) => redis.hget(key, '_index')))
  return fields.some((index) => filedTerms(index ?? undefined).includes(term))
}

/** Returns the number of compared entries. */
const compareEntries = async (compared: ComparedIndexes, key: string): Promise<number> => {
  const { redis, keyPrefix, onWrong, signal } = compared
  const [, name, value] = /^(\w+):\{(.*)\}$/s.exec(key.slice(`${keyPrefix}index:`.length)) ?? []
  if (name === undefined) return 0
  const term = `${name as IndexName}:${value}` as const
  let [cursor, entries] = ['0', 0]
  do {
    signal?.throwIfAborted()
    const [next, page] = await redis.zscan(key, cursor, 'COUNT', 1000)
    entries += page.length / 2
    for (const customerUuid of page.filter((_, i) => i % 2 === 0)) {
      if (await mayHave(compared, customerUuid, term)) continue
      // Read the entry and the field `_index` again, because the projector may be changing them. It
      // removes an entry before it changes the field.
      if ((await redis.zscore(key, customerUuid)) !== null && !(await mayHave(compared, customerUuid, term)))
        onWrong(customerUuid, `has an index entry (${name}) that its field _index does not name`)
    }
    cursor = next
  } while (cursor !== '0')
  return entries
}

/** Returns the number of compared entries. */
export const compareIndexes = async (compared: ComparedIndexes): Promise<number> => {
  const { redis, keyPrefix, onWrong, signal } = compared
  const options = await readIndexOptions(compared)
  for await (const customerUuid of customersInRedis(redis, keyPrefix)) {
    signal?.throwIfAborted()
    if ((await missingOf(compared, customerUuid, options)) === undefined) continue
    const reason = await missingOf(compared, customerUuid, options)
    if (reason !== undefined) onWrong(customerUuid, reason)
  }
  const match = `${keyPrefix.replace(/[*?[\]\\]/g, '\\$&')}index:*`
  let entries = 0
  for (const master of mastersOf(redis)) {
    let cursor = '0'
    do {
      const [next, keys] = await master.scan(cursor, 'MATCH', match, 'COUNT', 1000)
      for (const key of keys) entries += await compareEntries(compared, key)
      cursor = next
    } while (cursor !== '0')
  }
  return entries
}
