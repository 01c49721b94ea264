import { describe, expect, it } from 'vitest'
import { ratioLine } from '../questions/question.ts'
import { alternate, percentile } from './measure.ts'

describe('a percentile', () => {
  const values = Array.from({ length: 101 }, (_, i) => (i * 37) % 101)

  it('is the value below which that share of the sorted values lies', () => {
    expect([0, 0.5, 0.99, 1].map((share) => percentile(values, share))).toEqual([0, 50, 99, 100])
  })

  it('does not sort the values of its caller', () => {
    percentile(values, 0.5)
    expect(values.slice(0, 3)).toEqual([0, 37, 74])
  })
})

describe('a ratio of two figures', () => {
  const figure = (median: number) => ({ median, min: 0, max: 100 })
  const line = (median: number) =>
    ratioLine({ what: 'w', figure: figure(median), base: figure(2), baseName: 'bare', atMost: 1.5, unit: 'ms' })

  it('compares the medians, and names both', () => {
    expect(line(3)).toEqual({
      what: 'w',
      target: '≤ 1.5 × bare',
      figure: '1.50 × (3.00 ms against 2.00 ms)',
      met: true,
    })
  })

  it('is missed above the limit', () => {
    expect(line(3.1).met).toBe(false)
  })
})

it('variants run in turn, and every second round runs in reverse order', async () => {
  const order: string[] = []
  const variant = (name: string) => async () => ({ n: order.push(name) })
  await alternate(3, { a: variant('a'), b: variant('b') })
  expect(order.join('')).toBe('abbaab')
})
