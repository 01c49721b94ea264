import type { Diagnosis, Logger } from '@customer-stream/runtime'
import { expect, it } from 'vitest'
import { createClaim } from './claim-positions.ts'
import { RefusedPositionsError } from './position-store.ts'

const here = { clusterId: 'cluster-1', topicId: 'topic-1' }

const setUp = ({ startOver = false } = {}) => {
  const reports: [string, Diagnosis | undefined][] = []
  const asked: unknown[] = []
  const errors: unknown[] = []
  const state: { redis?: Error; kafka?: Error; deleted: number } = { deleted: 0 }
  const claim = createClaim(
    {
      store: {
        claimPositions: async (...args) => {
          asked.push(args)
          if (state.redis) throw state.redis
          return state.deleted
        },
      },
      readIdentity: async () => {
        if (state.kafka) throw state.kafka
        return here
      },
      obstacles: { report: (task, diagnosis) => reports.push([task, diagnosis]) },
      logger: { error: (fields: object) => errors.push(fields) } as unknown as Logger,
    },
    { topic: 'raw', startOver },
  )
  return { claim, state, asked, reports, errors }
}

it.each([true, false])('a claim passes the ids of the topic to Redis, with startOver %s', async (startOver) => {
  const { claim, asked, errors } = setUp({ startOver })
  expect([await claim(), asked, errors]).toEqual([{ deleted: 0, identity: here }, [[here, startOver]], []])
})

it('a claim returns and logs the number of positions that belonged to another topic', async () => {
  const { claim, state, errors } = setUp()
  state.deleted = 2
  expect([await claim(), errors]).toEqual([{ deleted: 2, identity: here }, [{ topic: 'raw', deleted: 2 }]])
})

it('an obstacle reports positions of another cluster until a claim succeeds', async () => {
  const { claim, state, reports } = setUp()
  state.redis = new RefusedPositionsError('identity', 'the positions belong to the Kafka cluster cluster-2')
  await expect(claim()).rejects.toBe(state.redis)
  expect(reports).toEqual([['positions', { blocked: true, reason: 'identity', message: state.redis.message }]])
  delete state.redis
  await claim()
  expect(reports.at(-1)).toEqual(['positions', undefined])
})

it.each(['redis', 'kafka'] as const)(
  'an outage of %s does not change the reported problem of the positions',
  async (away) => {
    const { claim, state, reports } = setUp()
    state[away] = new Error('no answer')
    await expect(claim()).rejects.toBe(state[away])
    expect(reports).toEqual([])
  },
)
