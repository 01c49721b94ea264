import { partitionOf } from '@customer-stream/schemas'
import { expect, it } from 'vitest'
import { formerChoices, hasForeignKey } from './former-partitions.ts'

const ids = Array.from({ length: 200 }, (_, i) => `customer-${i}`)
const record = (key: string | null) => ({
  offset: '0',
  timestamp: '0',
  value: null,
  headers: {},
  key: key === null ? null : Buffer.from(key),
})

it('formerChoices has the partition of a customer for every smaller partition count', () => {
  for (const id of ids) {
    const choices = formerChoices(id, 12)
    for (let count = 1; count < 12; count += 1)
      expect([...choices, partitionOf(id, 12)]).toContain(partitionOf(id, count))
    expect(choices).not.toContain(partitionOf(id, 12))
  }
  expect(formerChoices('ada', 1).size).toBe(0)
})

it('a partition has foreign keys only if its records come from a smaller topic', () => {
  const own = ids.filter((id) => partitionOf(id, 12) === 3).map(record)
  expect(own.length).toBeGreaterThan(3)
  expect(hasForeignKey([...own, record(null)], 3, 12)).toBe(false)
  const older = ids.filter((id) => partitionOf(id, 6) === 3).map(record)
  expect(hasForeignKey(older, 3, 12)).toBe(true)
})
