import type { VerifiedProducer } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import { createOutputs } from './outputs.ts'

const setUp = (stateTopic?: string) => {
  const set: unknown[][] = []
  const open = () => {
    const own: unknown[] = []
    set.push(own)
    return { setPartitions: async (given: unknown) => void own.push(given) } as unknown as VerifiedProducer
  }
  const outputs = createOutputs(open, { topic: 'raw', quarantineTopic: 'quarantine', stateTopic, maxValueBytes: 7 })
  return { outputs, set }
}
const partitions = new Map([
  ['raw', 12],
  ['quarantine', 3],
  ['state', 12],
])

it('needs the right to write to quarantine and to the state topic only', () => {
  expect(setUp('state').outputs.demands).toEqual([
    { topic: 'raw', maxValueBytes: 7 },
    { topic: 'quarantine', maxValueBytes: 7, writes: true, kind: 'quarantine' },
    { topic: 'state', maxValueBytes: 35, writes: true, kind: 'changelog', partitionsOf: 'raw' },
  ])
})

it('each producer gets the partitions of its own topic only', async () => {
  const { outputs, set } = setUp('state')
  await outputs.onPartitions(partitions)
  expect(set).toEqual([[new Map([['quarantine', 3]])], [new Map([['state', 12]])]])
})

it('demands nothing of a state topic that is switched off', async () => {
  const { outputs, set } = setUp()
  expect(outputs.demands.map(({ topic }) => topic)).toEqual(['raw', 'quarantine'])
  expect(outputs.state).toBeUndefined()
  await outputs.onPartitions(partitions)
  expect(set).toEqual([[new Map([['quarantine', 3]])]])
})
