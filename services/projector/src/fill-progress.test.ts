import { expect, it, vi } from 'vitest'
import { createFillProgress } from './fill-progress.ts'
import type { ProjectorMetrics } from './metrics.ts'

const setUp = () => {
  const gauge = () => ({ set: vi.fn<(value: number) => void>() })
  const metrics = { fillRecords: gauge(), fillRemaining: gauge(), fillSecondsLeft: gauge() }
  const info = vi.fn<(fields: object) => void>()
  const progress = createFillProgress({ metrics: metrics as unknown as ProjectorMetrics, logger: { info } as never })
  return { progress, metrics, info }
}
const fillTo = (next: string, end: string) => ({ next, end }) as never

it('the first log line about a fill has the record count of all partitions', () => {
  const { progress, metrics, info } = setUp()
  const first = progress.begin(0, fillTo('0', '10'))
  progress.begin(1, fillTo('0', '30'))
  expect(info).not.toHaveBeenCalled()
  expect(progress.sentence).toContain('0 of 40 records (0 %). New events')
  first.advance(fillTo('4', '10'))
  expect(info).toHaveBeenCalledOnce()
  expect(info.mock.calls[0]?.[0]).toMatchObject({ event: 'filling', total: 40, left: 36, secondsLeft: 0 })
  expect([metrics.fillRecords, metrics.fillRemaining].map(({ set }) => set.mock.lastCall)).toEqual([[40], [36]])
})

it('a fill is over when all partitions are filled', () => {
  const { progress, metrics } = setUp()
  const [one, two] = [progress.begin(0, fillTo('0', '10')), progress.begin(1, fillTo('0', '30'))]
  one.advance(fillTo('10', '10'))
  two.abandon()
  expect(progress.sentence).toBeUndefined()
  expect(metrics.fillRemaining.set.mock.lastCall).toEqual([0])
})
