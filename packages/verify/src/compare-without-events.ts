/**
 * Compares Redis with the state topic for the customers that have no event in the raw topic, for
 * example because its retention has passed. Must run after the state topic was read.
 */
import type { RedisClient } from '@customer-stream/runtime/redis'
import { erasedKey, type TopicNames } from '@customer-stream/schemas'
import { type ReadRange, readSource } from './compare-hash.ts'
import { customersInRedis, readHash } from './customers-in-redis.ts'
import { contentOf, type Evidence, type LastState } from './evidence.ts'

export interface WithoutEvents {
  readonly evidence: Pick<Evidence, 'isKnown' | 'isErased' | 'lastState' | 'unknownStates' | 'wrong'>
  readonly redis: RedisClient
  readonly keyPrefix: string
  readonly topics: Pick<TopicNames, 'customers'>
  /** Ranges of the raw topic that were read. */
  readonly ranges: ReadonlyMap<number, ReadRange>
  /** Reads the current end offset of each partition of the raw topic. */
  readonly readEnds: () => Promise<ReadonlyMap<number, bigint>>
  readonly signal?: AbortSignal
}

/**
 * Returns a function that gets the source of an event, and returns true if this event arrived after
 * the raw topic was read.
 */
const createIsNewer = ({ topics, ranges, readEnds }: WithoutEvents) => {
  let ends: ReadonlyMap<number, bigint> = new Map()
  return async (source: string | undefined): Promise<boolean> => {
    const place = readSource(source, topics.customers)
    if (place === undefined || place.offset < (ranges.get(place.partition)?.end ?? 0n)) return false
    const isInKafka = () => place.offset < (ends.get(place.partition) ?? 0n)
    if (!isInKafka()) ends = await readEnds()
    return isInKafka()
  }
}
type IsNewer = ReturnType<typeof createIsNewer>

const compareWithState = async (
  hash: Readonly<Record<string, string>>,
  state: LastState,
  isNewer: IsNewer,
): Promise<string | undefined> => {
  if (Object.keys(hash).length === 0) return 'is in the state topic, but missing in Redis'
  const { _eventId: id = '', _eventTimestamp: timestamp = '' } = hash
  const order = Number(timestamp) - state.timestamp || Buffer.compare(Buffer.from(id), Buffer.from(state.id))
  if (order < 0) return 'has a hash in Redis that is older than its document in the state topic'
  if (order > 0)
    return (await isNewer(hash._source))
      ? undefined
      : 'has a hash in Redis that is newer than its document in the state topic'
  const isSame = Buffer.compare(contentOf(Object.entries(hash)), state.content) === 0
  return isSame ? undefined : 'has a hash in Redis that differs from its document in the state topic'
}

/** Finds customers that the state topic has, but that are wrong or missing in Redis. */
const compareStates = async (of: WithoutEvents, isNewer: IsNewer): Promise<void> => {
  const { evidence, redis, keyPrefix, signal } = of
  for (const customerUuid of evidence.unknownStates()) {
    signal?.throwIfAborted()
    const state = evidence.lastState(customerUuid)
    if (!state || evidence.isErased({ customerUuid, timestamp: state.timestamp })) continue
    const reason = await compareWithState(await readHash(redis, customerUuid, keyPrefix), state, isNewer)
    if (reason === undefined) continue
    // The customer may have been erased after the erasures were read.
    const [scope] = await redis.hmget(erasedKey(customerUuid, keyPrefix), 'scope')
    if (!scope) evidence.wrong(customerUuid, reason)
  }
}

/** Finds customers that only Redis has. If Redis is lost, these customers are lost. */
const compareHashes = async (of: WithoutEvents, isNewer: IsNewer): Promise<void> => {
  const { evidence, redis, keyPrefix, signal } = of
  for await (const customerUuid of customersInRedis(redis, keyPrefix)) {
    signal?.throwIfAborted()
    if (evidence.isKnown(customerUuid) || evidence.lastState(customerUuid)) continue
    const hash = await readHash(redis, customerUuid, keyPrefix)
    if (Object.keys(hash).length === 0 || (await isNewer(hash._source))) continue
    // Skip a hash that an erasure covers: the comparison of erased customers reports it.
    if (evidence.isErased({ customerUuid, timestamp: Number(hash._eventTimestamp) || 1 })) continue
    evidence.wrong(customerUuid, 'is in Redis only: Kafka has neither an event nor a document')
  }
}

export const compareWithoutEvents = async (of: WithoutEvents): Promise<void> => {
  const isNewer = createIsNewer(of)
  await compareStates(of, isNewer)
  await compareHashes(of, isNewer)
}
