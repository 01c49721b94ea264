import { expect, it } from 'vitest'
import { createTopicUse } from './topics.ts'

const setUp = () => {
  const set: unknown[] = []
  const use = createTopicUse(
    { setPartitions: async (partitions) => void set.push(partitions) },
    { topic: 'raw', quarantineTopic: 'quarantine', maxValueBytes: 7 },
  )
  return { use, set }
}

it('needs the right to write to quarantine only', () => {
  const { demands } = setUp().use
  expect(demands).toEqual([
    { topic: 'raw', maxValueBytes: 7 },
    { topic: 'quarantine', maxValueBytes: 7, writes: true, isQuarantine: true },
  ])
})

it('the producer gets the partitions of quarantine only', async () => {
  const { use, set } = setUp()
  await use.onPartitions(
    new Map([
      ['raw', 12],
      ['quarantine', 3],
    ]),
  )
  expect(set).toEqual([new Map([['quarantine', 3]])])
})
