import { createRegistry } from '@customer-stream/runtime/service'
import { readReport, reportsKey } from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { connectTestRedis } from '@customer-stream/testing/vitest'
import { expect, it } from 'vitest'
import { createProjectorMetrics } from './metrics.ts'
import { reportOf } from './report.ts'
import { saveReport } from './report-store.ts'

const HOUR_MS = 3_600_000

it('a report has the counters of the process, and the buckets of its freshness histogram', async () => {
  const metrics = createProjectorMetrics(createRegistry('test'), { groupId: 'g', topic: 't' })
  metrics.events.inc({ outcome: 'applied' }, 3)
  metrics.lostRecords.inc(4)
  for (const seconds of [0.004, 0.04, 0.04, 9999]) metrics.freshnessSeconds.observe(seconds)
  const { at, outcomes, freshness, lostRecords } = await reportOf(metrics, 7)
  expect([at, lostRecords]).toEqual([7, 4])
  expect(outcomes).toEqual({ applied: 3, duplicate: 0, stale: 0, erased: 0, quarantined: 0 })
  expect(freshness.filter(({ chunks }) => chunks > 0)).toEqual([
    { maxMs: 5, chunks: 1 },
    { maxMs: 50, chunks: 2 },
    { maxMs: null, chunks: 1 },
  ])
})

it('each process has one report, and reports of processes that ended are deleted after an hour', async () => {
  const redis = await connectTestRedis()
  const { keyPrefix } = freshNames()
  const save = (instance: string, at: number) =>
    saveReport(redis, { keyPrefix, instance }, { at, outcomes: { applied: at }, freshness: [] })
  const stored = async () => {
    const reports = Object.entries(await redis.hgetall(reportsKey(keyPrefix)))
    return reports.map(([instance, text]) => [instance, readReport(text)?.at]).toSorted()
  }
  await save('a', 1)
  await save('b', 2)
  await save('a', HOUR_MS)
  expect(await stored()).toEqual([
    ['a', HOUR_MS],
    ['b', 2],
  ])
  await redis.hset(reportsKey(keyPrefix), 'damaged', 'x')
  await save('a', HOUR_MS + 3)
  expect(await stored()).toEqual([['a', HOUR_MS + 3]])
})
