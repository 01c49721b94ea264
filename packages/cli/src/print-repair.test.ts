import { expect, it } from 'vitest'
import { repairLines } from './print-repair.ts'

const repairable = [{ customerUuid: 'c', partition: 0, offset: 7n }]
const partitions = [
  { partition: 0, from: 7n, records: 1200 },
  { partition: 3, from: 1n, records: 34 },
]

it('the plan of a repair names customers, records and partitions, and the option that begins the repair', () => {
  expect(repairLines({ repairable, repairableCount: 1, wrongCount: 1 }, partitions)).toEqual([
    'repair of 1 customer: the projector applies 1,234 records of 2 partitions again',
    '  Nothing was changed. To repair, add --execute.',
  ])
})

it('the plan of a repair counts customers that need another run or another remedy', () => {
  expect(repairLines({ repairable, repairableCount: 3, wrongCount: 4 }, partitions)).toEqual([
    expect.stringContaining('repair of 1 customer:'),
    '  2 more customers can be repaired by another run.',
    '  1 wrong customer must be repaired by other means: docs/operating.md, "Proving it".',
    '  Nothing was changed. To repair, add --execute.',
  ])
})

it('the plan of a repair does not offer --execute if no customer can be repaired', () => {
  expect(repairLines({ repairable: [], repairableCount: 0, wrongCount: 0 }, [])).toEqual([
    'repair of 0 customers: the projector applies 0 records of 0 partitions again',
  ])
})
