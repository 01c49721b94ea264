import { expect, it } from 'vitest'
import { createMeter } from './meter.ts'

it('the meter shows the rate of the last two seconds, and uses the average rate for the time left', () => {
  const meter = createMeter(1000)
  expect(meter.sample(0, 0)).toEqual({ perSecond: 0, secondsLeft: undefined })
  expect(meter.sample(1000, 100)).toEqual({ perSecond: 100, secondsLeft: 9 })
  meter.sample(2000, 200)
  // For two seconds the count does not grow.
  meter.sample(3000, 200)
  expect(meter.sample(4000, 200)).toEqual({ perSecond: 0, secondsLeft: 16 })
  expect(meter.sample(5000, 1000)).toMatchObject({ perSecond: 400, secondsLeft: 0 })
})
