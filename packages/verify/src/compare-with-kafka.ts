/** Compares Redis and the state topic with the events of Kafka, which the evidence has. */
import { fetchUncommittedEnds, readTopic, type TopicAdmin } from '@customer-stream/runtime/kafka'
import { erasedKey, MAX_FUTURE_MS } from '@customer-stream/schemas'
import { compareHash, type ReadRange, readSource } from './compare-hash.ts'
import { compareState, noteState } from './compare-state.ts'
import { compareWithoutEvents } from './compare-without-events.ts'
import { customersInRedis, readHash } from './customers-in-redis.ts'
import { compareErasedHash, compareErasedState, compareMark } from './erasures.ts'
import type { Evidence } from './evidence.ts'
import type { Range } from './read-topics.ts'
import type { VerifyOptions } from './verify-options.ts'

/**
 * Number of customers that are read from Redis at the same time. The number is small, because a
 * hash may have some megabytes.
 */
const REDIS_BATCH = 100

/** Reads the current end offset of each partition. */
const readEnds = async (admin: TopicAdmin, topic: string): Promise<Map<number, bigint>> =>
  new Map((await fetchUncommittedEnds(admin, topic)).map(({ partition, high }) => [partition, BigInt(high)]))

export const compareRedis = async (
  evidence: Evidence,
  options: VerifyOptions,
  ranges: ReadonlyMap<number, ReadRange>,
): Promise<number> => {
  const { admin, redis, topics, keyPrefix, projection, exact = false, maxFutureMs = MAX_FUTURE_MS, signal } = options
  const topic = topics.customers
  let endsNow = new Map([...ranges].map(([partition, { end }]) => [partition, end]))
  const endNow = (partition: number) => endsNow.get(partition) ?? 0n
  let newer = 0
  for (const batch of evidence.expected(REDIS_BATCH)) {
    signal?.throwIfAborted()
    const hashes = await Promise.all(batch.map(({ customerUuid }) => readHash(redis, customerUuid, keyPrefix)))
    // A hash may come from a record that arrived after the topic was read, so fetch the ends again.
    const sources = hashes.map(({ _source }) => readSource(_source, topic))
    if (sources.some((source) => source && source.offset >= endNow(source.partition)))
      endsNow = await readEnds(admin, topic)
    const comparison = { evidence, topic, ranges, endNow, projection, maxFutureMs, now: Date.now() }
    for (const [i, expected] of batch.entries()) {
      if (evidence.isErased(expected)) continue
      const finding = compareHash(expected, hashes[i] ?? {}, comparison)
      if (finding === 'newer') newer += 1
      if (finding === 'newer' && exact)
        evidence.wrong(expected.customerUuid, 'has a hash in Redis that is newer than its events in Kafka')
      if (typeof finding === 'object') evidence.wrong(expected.customerUuid, finding.wrong)
    }
  }
  for (const { customerUuid, upTo } of evidence.erased()) {
    signal?.throwIfAborted()
    const [hash, mark] = await Promise.all([
      readHash(redis, customerUuid, keyPrefix),
      redis.hmget(erasedKey(customerUuid, keyPrefix), 'scope', 'erasedAt'),
    ])
    const reason = compareErasedHash(hash, upTo, exact) ?? compareMark(mark, upTo, exact)
    if (reason !== undefined) evidence.wrong(customerUuid, reason)
  }
  if (exact) {
    for await (const customerUuid of customersInRedis(redis, keyPrefix))
      if (!evidence.isKnown(customerUuid)) evidence.wrong(customerUuid, 'is not in Kafka')
  }
  return newer
}

/**
 * Reads the state topic and compares it with the records of the raw topic. Must run after the wait
 * for the projector. The state topic is then complete, because the projector publishes to it before
 * its position moves.
 */
export const compareStates = async (
  evidence: Evidence,
  { admin, topics, exact = false, signal }: VerifyOptions,
  stateTopic: string,
  range: Range,
  ranges: ReadonlyMap<number, ReadRange>,
): Promise<number> => {
  const note = ({ key, value }: { key: Buffer | null; value: Buffer | null }, partition: number) =>
    noteState(evidence, { key, value, partition }, range.ends.length)
  const { records } = await readTopic(admin, stateTopic, note, range)
  const endsNow = await readEnds(admin, topics.customers)
  const endNow = (partition: number) => endsNow.get(partition) ?? 0n
  const comparison = { topic: topics.customers, ranges, endNow, exact }
  for (const batch of evidence.expected(REDIS_BATCH)) {
    signal?.throwIfAborted()
    for (const expected of batch) {
      if (evidence.isErased(expected)) continue
      const reason = compareState(expected, evidence, comparison)
      if (reason !== undefined) evidence.wrong(expected.customerUuid, reason)
    }
  }
  for (const { customerUuid, upTo } of evidence.erased()) {
    const reason = compareErasedState(evidence.lastState(customerUuid), upTo, exact)
    if (reason !== undefined) evidence.wrong(customerUuid, reason)
  }
  if (exact)
    for (const customerUuid of evidence.unknownStates()) evidence.wrong(customerUuid, 'is in the state topic only')
  return records
}

/**
 * Compares the customers without an event in the raw topic. Does nothing if only a part of the raw
 * topic was read. Also does nothing with `exact`, because the other comparisons then report these
 * customers.
 */
export const compareRest = async (
  evidence: Evidence,
  options: VerifyOptions,
  ranges: ReadonlyMap<number, ReadRange>,
) => {
  const { admin, topics, sinceMs, untilMs, sample = 1, exact = false } = options
  if (sinceMs !== undefined || untilMs !== undefined || sample < 1 || exact) return
  await compareWithoutEvents({ ...options, evidence, ranges, readEnds: () => readEnds(admin, topics.customers) })
}
