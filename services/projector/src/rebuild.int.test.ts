/**
 * A model of rebuilds: projection 1 has applied a part of a history and continues, while projection
 * 2 begins at the oldest record. Both write into one Redis, in an order that fast-check chooses.
 */

import { loadSettings } from '@customer-stream/runtime'
import { connectRedis, createRedis, redisSettings } from '@customer-stream/runtime/redis'
import { type CustomerHash, compareVersions, customerKey, type Version } from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { silentLogger, testRedisUrl } from '@customer-stream/testing/vitest'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createStore } from './store.ts'

const redis = createRedis(loadSettings(redisSettings, { REDIS_URL: testRedisUrl() }), silentLogger)
beforeAll(() => connectRedis(redis))
afterAll(() => redis.disconnect())

interface Event extends Version {
  readonly customerUuid: string
}

const hashOf = ({ customerUuid, timestamp, id }: Event, offset: number, projection: number): CustomerHash => ({
  customerUuid,
  version: { timestamp, id },
  fieldsAndValues: Object.entries({
    firstName: `${timestamp} ${id}`,
    _eventId: id,
    _eventTimestamp: String(timestamp),
    _source: `t/0/${offset}`,
    _projection: String(projection),
  }).flat(),
})

const newestOfEach = (hashes: readonly CustomerHash[]): CustomerHash[] => {
  const newest = new Map<string, CustomerHash>()
  for (const hash of hashes) {
    const kept = newest.get(hash.customerUuid)
    if (kept === undefined || compareVersions(hash.version, kept.version) > 0) newest.set(hash.customerUuid, hash)
  }
  return [...newest.values()]
}

/**
 * Creates a projection that reads the history, one chunk at each step. Begins at offset `oldest`.
 */
const createReader = (keyPrefix: string, history: readonly Event[], projection: number, oldest: number) => {
  const store = createStore(redis, { keyPrefix, topic: 't', projection })
  let next = oldest
  let position: string | undefined
  return {
    get isDone() {
      return next === history.length
    },
    step: async (records: number) => {
      const to = Math.min(next + records, history.length)
      const hashes = history.slice(next, to).map((event, i) => hashOf(event, next + i, projection))
      const { moved } = await store.applyChunk(newestOfEach(hashes), 0, position, String(to), {
        oldest: String(oldest),
      })
      expect(moved).toBe(true)
      next = to
      position = String(to)
    },
  }
}

const customers = fc.constantFrom('a', 'b', 'c')
const histories = fc.array(
  fc.record({ customerUuid: customers, timestamp: fc.integer({ min: 1, max: 5 }), id: fc.constantFrom('x', 'y') }),
  { minLength: 1, maxLength: 14 },
)
/** Steps of a run: the projection that reads, and the number of records. */
const schedules = fc.array(fc.record({ isRebuild: fc.boolean(), records: fc.integer({ min: 1, max: 4 }) }), {
  maxLength: 20,
})

const versionIn = async (key: string): Promise<Version | undefined> => {
  const [timestamp, id] = await redis.hmget(key, '_eventTimestamp', '_eventId')
  return timestamp && id ? { timestamp: Number(timestamp), id } : undefined
}

interface Run {
  readonly history: readonly Event[]
  readonly before: number
  readonly oldest: number
  readonly schedule: readonly { isRebuild: boolean; records: number }[]
}

const runs = fc
  .record({ history: histories, before: fc.nat(14), oldest: fc.nat(3), schedule: schedules })
  .map(({ history, before, oldest, schedule }): Run => {
    const applied = Math.min(before, history.length)
    return { history, before: applied, oldest: Math.min(oldest, applied), schedule }
  })

/**
 * Runs a rebuild.
 * @param tamper changes Redis after projection 1 has applied `run.before` events.
 */
const rebuild = async (
  run: Run,
  tamper: (key: (customerUuid: string) => string) => Promise<void>,
  onStep: (key: (uuid: string) => string) => Promise<void>,
) => {
  const { keyPrefix } = freshNames()
  const key = (customerUuid: string) => customerKey(customerUuid, keyPrefix)
  const live = createReader(keyPrefix, run.history, 1, 0)
  if (run.before > 0) await live.step(run.before)
  await tamper(key)
  const replay = createReader(keyPrefix, run.history, 2, run.oldest)
  for (const { isRebuild, records } of run.schedule) {
    const reader = isRebuild ? replay : live
    if (!reader.isDone) await reader.step(records)
    await onStep(key)
  }
  for (const reader of [live, replay]) if (!reader.isDone) await reader.step(run.history.length)
  return key
}

const newestIn = (history: readonly Event[], customerUuid: string): Event | undefined =>
  history
    .filter((event) => event.customerUuid === customerUuid)
    .reduce<Event | undefined>((a, b) => (a && compareVersions(a, b) >= 0 ? a : b), undefined)

it('a rebuild ends with the newest events, and never makes a hash older', async () => {
  await fc.assert(
    fc.asyncProperty(runs, async (run) => {
      const seen = new Map<string, Version>()
      const key = await rebuild(
        run,
        async () => undefined,
        async (keyOf) => {
          for (const customerUuid of ['a', 'b', 'c']) {
            const version = await versionIn(keyOf(customerUuid))
            const before = seen.get(customerUuid)
            if (before) expect(version && compareVersions(version, before)).toBeGreaterThanOrEqual(0)
            if (version) seen.set(customerUuid, version)
          }
        },
      )
      for (const customerUuid of ['a', 'b', 'c']) {
        const newest = newestIn(run.history, customerUuid)
        const hash = await redis.hgetall(key(customerUuid))
        expect(hash.firstName).toBe(newest && `${newest.timestamp} ${newest.id}`)
        // If retention has deleted the record of a hash, the hash keeps the old layout.
        const isKept = newest && newestIn(run.history.slice(run.oldest), customerUuid)
        if (isKept && compareVersions(isKept, newest) === 0) expect(hash._projection).toBe('2')
      }
    }),
    { numRuns: 150 },
  )
})

it('a rebuild repairs a hash that claims to be newer than all records in Kafka', async () => {
  const forgedSources = fc.constantFrom<string | undefined | null>(
    undefined,
    null,
    '',
    'nonsense',
    't/0/',
    't/0/0x1',
    'u/0/99',
    't/1/99',
    't/0/99 ',
  )
  await fc.assert(
    fc.asyncProperty(
      runs.map((run) => ({ ...run, oldest: 0 })),
      forgedSources,
      async (run, source) => {
        const tampered = run.history.slice(0, run.before)[0]?.customerUuid
        const key = await rebuild(
          run,
          async (keyOf) => {
            if (tampered === undefined) return
            await redis.hset(keyOf(tampered), {
              _eventTimestamp: String(Number.MAX_SAFE_INTEGER),
              firstName: 'Mallory',
            })
            // If `source` is undefined, the field `_source` stays unchanged.
            if (source === null) await redis.hdel(keyOf(tampered), '_source')
            else if (source !== undefined) await redis.hset(keyOf(tampered), '_source', source)
          },
          async () => undefined,
        )
        for (const customerUuid of ['a', 'b', 'c']) {
          const newest = newestIn(run.history, customerUuid)
          expect(await redis.hget(key(customerUuid), 'firstName')).toBe(
            newest ? `${newest.timestamp} ${newest.id}` : null,
          )
        }
      },
    ),
    { numRuns: 150 },
  )
})

it('a lower projection keeps the hashes of a higher projection, and applies newer events', async () => {
  const { keyPrefix } = freshNames()
  const key = customerKey('a', keyPrefix)
  const history = [1, 2].map((timestamp) => ({ customerUuid: 'a', timestamp, id: 'x' }))
  await createReader(keyPrefix, history.slice(0, 1), 2, 0).step(1)
  const lowered = createReader(keyPrefix, history, 1, 0)
  await lowered.step(1)
  expect(await redis.hmget(key, '_eventTimestamp', '_projection')).toEqual(['1', '2'])
  await lowered.step(1)
  expect(await redis.hmget(key, '_eventTimestamp', '_projection')).toEqual(['2', '1'])
})
