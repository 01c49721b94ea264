import { setInterval } from 'node:timers/promises'
import { readTopic } from '@customer-stream/runtime/kafka'
import { compareVersions, customerKey, type Version } from '@customer-stream/schemas'
import type { FaultHarness } from './fault-harness.ts'

/**
 * Keeps the newest version of each customer, and a sentence for each customer that went back to an
 * older version.
 */
const createVersionLog = (place: string) => {
  const newest = new Map<string, Version>()
  const wentBack: string[] = []
  return {
    wentBack,
    note: (customer: string, version: Version) => {
      const before = newest.get(customer)
      if (before !== undefined && compareVersions(version, before) < 0)
        wentBack.push(`${place}: ${customer} went from ${before.timestamp} back to ${version.timestamp}`)
      newest.set(customer, version)
    },
  }
}

const SAMPLE_INTERVAL_MS = 100

/**
 * Reads all customers in Redis again and again, as an application would.
 * @returns a function that ends the observation, and returns a sentence for each customer that went
 *   back to an older version.
 */
export const observeRedis = ({ pipeline: { redis, keyPrefix } }: FaultHarness): (() => Promise<readonly string[]>) => {
  const { note, wentBack } = createVersionLog('Redis')
  const stop = new AbortController()
  const pattern = `${customerKey('', keyPrefix).slice(0, -1)}*`
  const observe = async () => {
    for await (const _ of setInterval(SAMPLE_INTERVAL_MS)) {
      if (stop.signal.aborted) return
      const keys = await redis.keys(pattern)
      await Promise.all(
        keys.map(async (key) => {
          const [timestamp, id] = await redis.hmget(key, '_eventTimestamp', '_eventId')
          note(key, { timestamp: Number(timestamp), id: id ?? '' })
        }),
      )
    }
  }
  const observed = observe()
  observed.catch(() => undefined) // reported when the observation ends
  return async () => {
    stop.abort()
    await observed
    return wentBack
  }
}

/** Returns a sentence for each key of a topic whose records are in more than one partition. */
export const splitKeys = async ({ pipeline: { admin } }: FaultHarness, topic: string): Promise<readonly string[]> => {
  const partitions = new Map<string, Set<number>>()
  await readTopic(admin, topic, ({ key }, partition) => {
    const ofKey = partitions.get(String(key)) ?? new Set()
    partitions.set(String(key), ofKey.add(partition))
  })
  return [...partitions].flatMap(([key, found]) =>
    found.size > 1 ? [`${topic}: ${key} is in the partitions ${[...found].join(', ')}`] : [],
  )
}

/**
 * Returns a sentence for each state document that is older than its customer's previous document.
 */
export const olderDocuments = async ({ pipeline }: FaultHarness): Promise<readonly string[]> => {
  const { note, wentBack } = createVersionLog('state topic')
  await readTopic(pipeline.admin, pipeline.stateTopic, ({ key, value }) => {
    if (value !== null) note(String(key), (JSON.parse(value.toString()) as { version: Version }).version)
  })
  return wentBack
}
