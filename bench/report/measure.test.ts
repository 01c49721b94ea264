import { describe, expect, it } from 'vitest'
import { ratioLine } from '../questions/question.ts'
import { alternate, percentile, slopeOfFloor } from './measure.ts'

describe('a percentile', () => {
  const values = Array.from({ length: 101 }, (_, i) => (i * 37) % 101)

  it('a percentile is the value below which the given share of values lies', () => {
    expect([0, 0.5, 0.99, 1].map((share) => percentile(values, share))).toEqual([0, 50, 99, 100])
  })

  it('the percentile function does not sort the array of its caller', () => {
    percentile(values, 0.5)
    expect(values.slice(0, 3)).toEqual([0, 37, 74])
  })
})

describe('slopeOfFloor, the slope of the lowest values of a curve', () => {
  // Each tooth rises by 70 over 17 points, and then falls back. So each of the ten parts of the
  // curve is shorter than half a tooth.
  const sawTooth = (growth: number) =>
    Array.from({ length: 75 }, (_, i) => ({ x: i / 75, y: 24 + growth * (i / 75) + ((i % 17) / 17) * 70 }))

  it('slopeOfFloor returns about 0 for a saw-tooth curve whose minima are equal', () => {
    expect(Math.abs(slopeOfFloor(sawTooth(0)))).toBeLessThan(2)
  })

  it('slopeOfFloor returns the slope of the minima of a saw-tooth curve', () => {
    expect(slopeOfFloor(sawTooth(20))).toBeCloseTo(20, 0)
  })

  it('slopeOfFloor returns NaN for a curve with fewer than two points', () => {
    expect(slopeOfFloor([{ x: 1, y: 1 }])).toBeNaN()
  })
})

describe('a ratio of two figures', () => {
  const figure = (median: number) => ({ median, min: 0, max: 100 })
  const line = (median: number) =>
    ratioLine({ what: 'w', figure: figure(median), base: figure(2), baseName: 'bare', atMost: 1.5, unit: 'ms' })

  it('a ratio compares two medians, and its text shows both', () => {
    expect(line(3)).toEqual({
      what: 'w',
      target: '≤ 1.5 × bare',
      figure: '1.50 × (3.00 ms against 2.00 ms)',
      met: true,
    })
  })

  it('a target is missed only if the measured value is above the limit', () => {
    expect(line(3.1).met).toBe(false)
  })
})

it('each round runs all variants, and every second round runs them in reverse order', async () => {
  const order: string[] = []
  const variant = (name: string) => async () => ({ n: order.push(name) })
  await alternate(3, { a: variant('a'), b: variant('b') })
  expect(order.join('')).toBe('abbaab')
})
