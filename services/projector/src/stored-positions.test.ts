import type { Logger } from '@customer-stream/runtime'
import { expect, it } from 'vitest'
import { createStoredPositions } from './stored-positions.ts'

const marks = { low: '0', high: '90', stable: '90' }

it('if a chunk moves a position while the position is being moved back, it is moved back again', async () => {
  let position = '50'
  let published = { stateTopicId: 'deleted', offset: '50' }
  let isWriting = true
  const storedPositions = createStoredPositions(
    {
      store: {
        claimPositions: async () => 0,
        positions: async () => new Map([[3, position]]),
        publishedPositions: async () => new Map([[3, published]]),
        unfinishedWindows: async () => new Map(),
        forgetWindow: async () => {},
        movePosition: async (_partition, from, to) => {
          // A chunk that was written at the same time moves the position first.
          if (isWriting) {
            isWriting = false
            position = '60'
            published = { stateTopicId: 'deleted', offset: '60' }
          }
          if (position !== from) return false
          position = to
          return true
        },
      },
      consumer: { committed: async () => new Map(), watermarks: async () => new Map([[3, marks]]) },
      readIdentity: async () => ({ clusterId: 'cluster', topicId: 'raw' }),
      stateSource: { topicId: async () => 'new', watermarks: async () => new Map([[3, marks]]) },
      fillStore: { fills: async () => new Map(), beginFill: async () => {}, endFill: async () => {} },
      onLeave: () => {},
      obstacles: { report: () => {} },
      metrics: { lostRecords: { inc: () => {} }, rewinds: { inc: () => {} } } as never,
      logger: { warn: () => {}, error: () => {} } as unknown as Logger,
    },
    { topic: 'raw', startOver: false },
  )
  expect((await storedPositions.read([3])).stored).toEqual(new Map([[3, '0']]))
})
