import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Destination } from './drain.ts'
import { newDirectory, segmentsIn, withoutSyncs } from './fixtures/spool-folder.ts'
import { openSpool, type Spool, type SpoolDamage, type SpoolOptions } from './spool.ts'

const openNew = async (options: Partial<SpoolOptions> = {}) => {
  const directory = newDirectory()
  const spool = await openSpool({ directory, maxBytes: 1e9, ...options })
  onTestFinished(() => spool.close())
  return { spool, files: () => segmentsIn(directory) }
}

/** Creates a record whose partition is the timestamp modulo 12. */
const numbered = (timestamp: number, valueBytes = 10): OutgoingRecord => ({
  topic: 't',
  key: Buffer.from('k'),
  value: Buffer.alloc(valueBytes),
  timestamp,
})
const appendAll = async (spool: Spool, count: number) => {
  // Append in steps that fit into `maxWaitingBytes`.
  for (let at = 0; at < count; at += 10_000)
    await Promise.all(Array.from({ length: Math.min(10_000, count - at) }, (_, i) => spool.append(numbered(at + i))))
}

/**
 * Simulates a Kafka that has twelve partitions, and refuses each record for which `isBad` returns
 * true.
 */
const kafka = (isBad: (timestamp: number) => boolean) => {
  const sent: number[] = []
  const attempts: number[][] = []
  return {
    sent,
    attempts,
    partitionOf: ({ timestamp }: OutgoingRecord) => String(timestamp % 12),
    send: async (records: readonly OutgoingRecord[]) => {
      attempts.push(records.map(({ timestamp }) => timestamp))
      sent.push(...records.filter(({ timestamp }) => !isBad(timestamp)).map(({ timestamp }) => timestamp))
      return records.filter(({ timestamp }) => isBad(timestamp))
    },
  }
}
const untilEmpty = (spool: Spool, delivery: Destination) =>
  vi.waitUntil(async () => (await spool.drain(delivery)) === 'empty', { timeout: 30_000 })
setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void
/** Returns the bytes of all objects and buffers that are still referenced. */
const liveBytes = () => {
  collectGarbage()
  // Collect garbage twice, because after the first run a thread still frees buffers.
  collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
const sorted = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

describe('failing partitions', () => {
  it('a failing partition does not delay 55,000 other records, and its records are sent later', {
    timeout: 120_000,
  }, async () => {
    await withoutSyncs()
    const { spool, files } = await openNew({ segmentBytes: 1e6 })
    await appendAll(spool, 60_000)
    const failing = new Set([5])
    const delivery = kafka((timestamp) => failing.has(timestamp % 12))
    expect(await spool.drain(delivery)).toBe('incomplete')
    expect(sorted(delivery.sent)).toEqual(upTo(60_000).filter((n) => n % 12 !== 5))
    expect(spool.size).toMatchObject({ records: 5000, oldestAt: 5 })
    failing.clear()
    await untilEmpty(spool, delivery)
    expect(sorted(delivery.sent)).toEqual(upTo(60_000))
    expect([files(), spool.size.bytes]).toEqual([[], 0])
  })

  it('a failing partition is retried with one record, and gets more records after a success', async () => {
    const { spool } = await openNew()
    await appendAll(spool, 120)
    const failing = new Set([3])
    const delivery = kafka((timestamp) => failing.has(timestamp % 12))
    await spool.drain(delivery)
    delivery.attempts.length = 0
    await vi.waitUntil(async () => (await spool.drain(delivery)) === 'incomplete' && delivery.attempts.length >= 2, {
      timeout: 10_000,
    })
    expect(delivery.attempts.slice(0, 2)).toEqual([[3], [15]])
    failing.clear()
    await untilEmpty(spool, delivery)
    expect(sorted(delivery.sent)).toEqual(upTo(120))
  })

  it('a failing partition is retried although new records keep the drain busy', { timeout: 20_000 }, async () => {
    await withoutSyncs()
    const { spool } = await openNew()
    await spool.append(numbered(5))
    let isWell = false
    let next = 0
    const appended: Promise<void>[] = []
    const delivery = kafka((timestamp) => timestamp % 12 === 5 && !isWell)
    const append = () => {
      if (!delivery.sent.includes(5)) appended.push(spool.append(numbered(12 * next++)))
    }
    append()
    const drain = spool.drain({
      partitionOf: delivery.partitionOf,
      // Each send appends one more record, so the main reader never reaches the end.
      send: async (records) => {
        if (records.some(({ timestamp }) => timestamp % 12 === 0)) append()
        if (next === 50) isWell = true
        return delivery.send(records)
      },
    })
    expect(await drain).toBe('empty')
    await Promise.all(appended)
    expect(delivery.sent).toContain(5)
    expect(next).toBeGreaterThan(50)
    // The drain has retried the failing record.
    expect(delivery.attempts.filter((attempt) => attempt.includes(5)).length).toBeGreaterThan(1)
  })

  it('a record that always fails does not delay other records of its partition', { timeout: 30_000 }, async () => {
    const { spool, files } = await openNew()
    await appendAll(spool, 3000)
    const bad = new Set([24])
    const delivery = kafka((timestamp) => bad.has(timestamp))
    // The broker refuses a whole batch because of one record.
    const send = async (records: readonly OutgoingRecord[]) => {
      const isHit = records.some(({ timestamp }) => bad.has(timestamp))
      return delivery.send(isHit ? [] : records).then((left) => (isHit ? records : left))
    }
    const all = { ...delivery, send }
    await vi.waitUntil(async () => (await spool.drain(all)) === 'incomplete' && delivery.sent.length === 2999, {
      timeout: 25_000,
    })
    expect(spool.size).toMatchObject({ records: 1, oldestAt: 24 })
    bad.clear()
    await untilEmpty(spool, { ...delivery, send })
    expect([sorted(delivery.sent), files()]).toEqual([upTo(3000), []])
  })

  it('no record is lost or sent twice if the number of partitions changes', async () => {
    const { spool, files } = await openNew({ segmentBytes: 5000 })
    await appendAll(spool, 1000)
    const failing = new Set([5])
    const delivery = kafka((timestamp) => failing.has(timestamp % 12))
    await spool.drain(delivery)
    failing.clear()
    const changed = { ...delivery, partitionOf: ({ timestamp }: OutgoingRecord) => String(timestamp % 24) }
    await untilEmpty(spool, changed)
    expect([sorted(delivery.sent), files()]).toEqual([upTo(1000), []])
  })

  it('a failing partition delays no other partition after the number of partitions changes', {
    timeout: 60_000,
  }, async () => {
    await withoutSyncs()
    const { spool } = await openNew({ segmentBytes: 20_000 })
    // 9000 records on 12 partitions are 750 records for each partition. The drain keeps at most 500
    // places.
    const all = upTo(9000)
    await appendAll(spool, all.length)
    const failing = new Set([5, 6])
    const destination = kafka((timestamp) => failing.has(timestamp % 12))
    await spool.drain(destination)
    failing.delete(6)
    const changed = { ...destination, partitionOf: ({ timestamp }: OutgoingRecord) => `${timestamp % 24} of 24` }
    const expected = all.filter((n) => n % 12 !== 5)
    const sentAll = async () =>
      (await spool.drain(changed)) === 'incomplete' && destination.sent.length === expected.length
    await vi.waitUntil(sentAll, { timeout: 30_000 })
    expect(sorted(destination.sent)).toEqual(expected)
    expect(spool.size.records).toBe(750)
    failing.clear()
    await untilEmpty(spool, changed)
    expect(sorted(destination.sent)).toEqual(all)
  })
})

describe('many failing partitions', () => {
  const PARTITIONS = 200
  const RECORDS = 10_000
  const VALUE_BYTES = 3000
  /** Creates a spool of 30 MB. */
  const setUp = async () => {
    await withoutSyncs()
    const { spool, files } = await openNew({ maxWaitingBytes: 1e8 })
    await Promise.all(upTo(RECORDS).map((n) => spool.append(numbered(n, VALUE_BYTES))))
    return { spool, files }
  }
  const partitionOf = ({ timestamp }: OutgoingRecord) => String(timestamp % PARTITIONS)

  it('the memory of a drain does not grow with 200 failing partitions', { timeout: 60_000 }, async () => {
    const before = liveBytes()
    const { spool, files } = await setUp()
    const failing = kafka(() => true)
    const well = kafka(() => false)
    let most = 0
    const each =
      (steps: number, count = 0) =>
      () => {
        if (count++ % steps === 0) most = Math.max(most, liveBytes() - before)
      }
    const [onRead, onSend] = [each(2000), each(100)]
    const measured = (delivery: Destination): Destination => ({
      partitionOf: (record) => {
        // Count only records that were read from a file. The drain also calls `partitionOf` with a
        // cursor's sample, which has no value.
        if (record.value !== null) onRead()
        return partitionOf(record)
      },
      send: (...args) => {
        onSend()
        return delivery.send(...args)
      },
    })
    const attempts = () => failing.attempts.length
    // Waits until the drain has sent its first batch, and one retry for each partition.
    await vi.waitUntil(async () => (await spool.drain(measured(failing))) === 'incomplete' && attempts() > PARTITIONS, {
      timeout: 30_000,
    })
    expect(spool.size.records).toBe(RECORDS)
    await untilEmpty(spool, measured(well))
    expect([sorted(well.sent), files()]).toEqual([upTo(RECORDS), []])
    expect(most).toBeLessThan(12e6)
  })

  /** Retries each partition once. Calls `onRead` for each record that the retries read. */
  const retryAll = async (spool: Spool, onRead: () => void, signal?: AbortSignal) => {
    const { send } = kafka(() => true)
    const now = performance.now()
    const clock = vi.spyOn(performance, 'now').mockReturnValue(now)
    expect(await spool.drain({ partitionOf, send })).toBe('incomplete')
    clock.mockReturnValue(now + 1000)
    const counted: Destination['partitionOf'] = (record) => {
      // Count only records that were read from a file. The drain also calls `partitionOf` with a
      // cursor's sample, which has no value.
      if (record.value !== null) onRead()
      return partitionOf(record)
    }
    return spool.drain({ partitionOf: counted, send }, signal)
  }

  it('with 200 failing partitions, a drain does not read the files 200 times', { timeout: 60_000 }, async () => {
    const { spool } = await setUp()
    const onRead = vi.fn()
    expect(await retryAll(spool, onRead)).toBe('incomplete')
    expect(onRead.mock.calls.length).toBeLessThan(2 * RECORDS)
  })

  it('200 failing partitions do not delay a shutdown', { timeout: 60_000 }, async () => {
    const { spool } = await setUp()
    const stop = new AbortController()
    const onRead = vi.fn(() => stop.abort())
    expect(await retryAll(spool, onRead, stop.signal)).toBe('stopped')
    expect(onRead).toHaveBeenCalledTimes(1)
  })
})

it('a record that every topic refuses stays in its file, and delays no other record', async () => {
  const damages: SpoolDamage[] = []
  const { spool, files } = await openNew({ segmentBytes: 1, onDamage: (damage) => damages.push(damage) })
  await appendAll(spool, 3)
  const [, second] = files()
  const delivery = kafka(() => false)
  const send: Destination['send'] = async (records, keep) => {
    for (const record of records) if (record.timestamp === 1) keep(record)
    return delivery.send(records)
  }
  expect([await spool.drain({ ...delivery, send }), delivery.sent]).toEqual(['empty', [0, 1, 2]])
  expect([files(), spool.size.records]).toEqual([[`${second}.damaged`], 0])
  expect(damages).toMatchObject([{ what: 'refused' }])
})
