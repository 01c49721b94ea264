import { expect, it } from 'vitest'
import { readMetrics } from './admin-request.ts'

it('readMetrics adds up the series that have the given labels', () => {
  const { sum } = readMetrics('# HELP a x\na{answer="accepted",service="i"} 2\na{answer="other"} 3\nab 5\n', 0)
  expect([sum('a'), sum('a', { answer: 'accepted' }), sum('ab'), sum('c')]).toEqual([5, 2, 5, 0])
})
