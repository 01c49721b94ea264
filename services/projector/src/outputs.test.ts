import type { Fence, OutgoingRecord, VerifiedProducer } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import { createOutputs, partsOf } from './outputs.ts'

const readCheck = async () => {}
const setUp = (stateTopic?: string, erasuresTopic?: string) => {
  const set: unknown[][] = []
  const sent: (readonly OutgoingRecord[])[] = []
  const fenced: string[] = []
  const open = (more: Pick<VerifiedProducer, 'fence'>) => {
    const own: unknown[] = []
    set.push(own)
    return {
      setPartitions: async (given: unknown) => void own.push(given),
      send: async (records: readonly OutgoingRecord[]) => void sent.push(records),
      ...more,
    } as unknown as VerifiedProducer
  }
  const fence: Fence = {
    takeOver: () => void fenced.push('taken over'),
    check: async (topic) => void fenced.push(`${topic} checked`),
  }
  const outputs = createOutputs(
    { quarantine: () => open({}), state: () => open({ fence }) },
    { stateSource: stateTopic ? { readCheck } : undefined, erasuresSource: { readCheck } },
    {
      topic: 'raw',
      quarantineTopic: 'quarantine',
      stateTopic,
      erasuresTopic,
      maxValueBytes: 7,
    },
  )
  return { outputs, fenced, set, sent }
}
const partitions = new Map([
  ['raw', 12],
  ['quarantine', 3],
  ['state', 12],
])

it('the projector needs WRITE on quarantine, and WRITE and READ on the state topic', () => {
  expect(setUp('state').outputs.demands).toEqual([
    { topic: 'raw', maxValueBytes: 7 },
    { topic: 'quarantine', maxValueBytes: 7, writes: true, kind: 'quarantine' },
    {
      topic: 'state',
      maxValueBytes: 35,
      writes: true,
      readCheck,
      fenceCheck: expect.any(Function),
      kind: 'changelog',
      partitionsOf: 'raw',
    },
  ])
})

it('the projector needs READ on the erasures topic', () => {
  expect(setUp(undefined, 'erasures').outputs.demands.at(-1)).toEqual({
    topic: 'erasures',
    maxValueBytes: 32_768,
    readCheck,
    kind: 'changelog',
    partitionsOf: 'raw',
  })
})

it('each producer gets only the partitions of its own topic', async () => {
  const { outputs, set } = setUp('state')
  await outputs.onPartitions(partitions)
  expect(set).toEqual([[new Map([['quarantine', 3]])], [new Map([['state', 12]])]])
})

it('only the state topic has a fence, because its readers use the last record', async () => {
  const { outputs, fenced } = setUp('state')
  outputs.takeOver()
  for (const { fenceCheck } of outputs.demands) await fenceCheck?.()
  expect(fenced).toEqual(['taken over', 'state checked'])
})

it('without a state topic, an assignment needs no fence', () => {
  const { outputs, fenced } = setUp()
  outputs.takeOver()
  expect(fenced).toEqual([])
})

it.each([
  ['raw', 12],
  ['state', 14],
])(
  'documents go to partitions that both topics have, even if the %s topic has fewer partitions',
  async (fewer, count) => {
    const { outputs, set } = setUp('state')
    await outputs.onPartitions(new Map([...partitions, ['raw', 14], ['state', 16], [fewer, count]]))
    expect(set[1]).toEqual([new Map([['state', count]])])
  },
)

it('the projector needs no rights for a state topic that is switched off', async () => {
  const { outputs, set } = setUp()
  expect(outputs.demands.map(({ topic }) => topic)).toEqual(['raw', 'quarantine'])
  expect(outputs.state).toBeUndefined()
  await outputs.onPartitions(partitions)
  expect(set).toEqual([[new Map([['quarantine', 3]])]])
})

it('documents that do not fit into one batch of the state topic are sent in several parts', async () => {
  const { outputs, sent } = setUp('state')
  const { maxValueBytes = 0 } = outputs.demands.at(-1) ?? {}
  const record = (bytes: number): OutgoingRecord => ({
    topic: 'state',
    key: null,
    value: Buffer.alloc(bytes),
    timestamp: 1,
  })
  // Each record counts as its value plus 100 bytes, so the third record does not fit.
  await outputs.state?.send([record(1000 * maxValueBytes), record(0), record(0)])
  expect(sent.map((records) => records.length)).toEqual([1, 1, 1])
  expect(partsOf([1, 2, 3, 4].map(record), 300).map((part) => part.length)).toEqual([2, 2])
  expect(partsOf([], 300)).toEqual([])
})
