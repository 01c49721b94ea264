import type { RawRecord } from '@customer-stream/schemas'
import { expect, it } from 'vitest'
import { createDrift } from './drift.ts'

it('at most one five-hundredth of the time is used to compare events with their documentation', () => {
  let clock = 0
  let compared = 0
  const record = {
    offset: '0',
    timestamp: '1',
    key: null,
    // Each comparison reads the value once, and takes 2 ms.
    get value() {
      compared += 1
      clock += 2
      return null
    },
  } satisfies RawRecord
  const redis = { defineCommand: () => undefined } as never
  const drift = createDrift(
    { redis, metrics: {} as never, logger: { warn: () => undefined }, now: () => clock },
    { keyPrefix: 'p:' },
  )
  for (let turn = 0; turn < 10_000; turn++) {
    drift.sample([record])
    clock += 1
  }
  expect(compared).toBeGreaterThan(0)
  // The first comparison begins immediately.
  expect(compared * 2).toBeLessThanOrEqual(2 + clock / 500)
})
