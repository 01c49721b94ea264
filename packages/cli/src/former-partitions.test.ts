import { partitionOf } from '@customer-stream/schemas'
import { expect, it } from 'vitest'
import { hasForeignKey } from './former-partitions.ts'

const ids = Array.from({ length: 200 }, (_, i) => `customer-${i}`)
const record = (key: string | null) => ({
  offset: '0',
  timestamp: '0',
  value: null,
  headers: {},
  key: key === null ? null : Buffer.from(key),
})

it('a partition has keys of other partitions only if the topic had fewer partitions before', () => {
  const own = ids.filter((id) => partitionOf(id, 12) === 3).map(record)
  expect(own.length).toBeGreaterThan(3)
  expect(hasForeignKey([...own, record(null)], 3, 12)).toBe(false)
  const older = ids.filter((id) => partitionOf(id, 6) === 3).map(record)
  expect(hasForeignKey(older, 3, 12)).toBe(true)
})
