import type { KafkaClient, TopicAdmin } from '@customer-stream/runtime/kafka'
import { describe, expect, it } from 'vitest'
import { fetchEnds, fetchSettledEnds, type ReadOptions, readTopic } from './read-topic.ts'

it('fetchEnds waits until Kafka reports the end of every partition', async () => {
  const ends = [0, 1].map((partition) => ({ partition, low: '0', high: '7' }))
  let asked = 0
  const admin = {
    // The answer of Kafka has no entry for a partition without a leader.
    fetchTopicOffsets: async () => (++asked < 3 ? ends.slice(0, 1) : ends),
    describeTopics: async () => new Map([['t', [{ leader: 1 }, { leader: -1 }]]]),
  } as unknown as TopicAdmin
  expect(await fetchEnds(admin, 't')).toEqual(ends)
  expect(asked).toBe(3)
})

it('fetchSettledEnds waits a limited time for an open transaction, then names it', async () => {
  const admin = {
    fetchTopicOffsets: async () => [
      { partition: 0, low: '0', high: '5' },
      { partition: 1, low: '0', high: asked++ % 2 === 0 ? '9' : '7' },
    ],
    describeTopics: async () => new Map([['t', [{ leader: 1 }, { leader: 1 }]]]),
  } as unknown as TopicAdmin
  let asked = 0
  expect(await fetchSettledEnds(admin, 't', -1)).toEqual({
    ends: [
      { partition: 0, low: '0', high: '5' },
      { partition: 1, low: '0', high: '7' },
    ],
    open: [{ topic: 't', partition: 1, offset: '7', records: 2 }],
  })
})

describe('a batch that cannot be decoded', () => {
  const damaged = { offset: '0', nextOffset: '3', error: new Error('damaged') }
  const ends = [{ partition: 0, low: '0', high: '3' }]
  /**
   * Reads with a fake client. Its only fetch returns a damaged batch, as our patch of kafkajs does.
   */
  const read = (onUnreadable?: ReadOptions['onUnreadable'], deleteGroup = async () => {}) => {
    const seeks: unknown[] = []
    const consumer = {
      events: {},
      on: (_event: unknown, listener: (event: { payload: object }) => void) => joined.push(listener),
      connect: async () => undefined,
      subscribe: async () => undefined,
      disconnect: async () => undefined,
      seek: (place: unknown) => seeks.push(place),
      run: async ({ eachBatch }: { eachBatch(payload: object): Promise<void> }) => {
        joined[1]?.({ payload: {} })
        await eachBatch({
          batch: { partition: 0, messages: [], rawMessages: { unreadable: damaged } },
          heartbeat: async () => undefined,
        })
      },
    }
    const joined: ((event: { payload: object }) => void)[] = []
    const kafka = { consumer: () => consumer } as unknown as KafkaClient
    const admin = { deleteGroup } as unknown as TopicAdmin
    const reading = readTopic(kafka, admin, 't', () => undefined, { ends, ...(onUnreadable && { onUnreadable }) })
    return { reading, seeks }
  }

  it('an unreadable batch ends the reading with an error that names its place', async () => {
    await expect(read().reading).rejects.toThrow('the batch of records at t/0/0 cannot be read: damaged')
  })

  it('an unreadable batch is skipped if onUnreadable is given', async () => {
    const noted: unknown[] = []
    const { reading, seeks } = read((batch, partition) => noted.push([batch.offset, partition]))
    expect(await reading).toMatchObject({ records: 0 })
    expect([noted, seeks.at(-1)]).toEqual([[['0', 0]], { topic: 't', partition: 0, offset: '3' }])
  })

  it('an outage at the deletion of the group does not change the result of the reading', async () => {
    const { reading } = read(
      () => undefined,
      () => Promise.reject(new Error('no coordinator')),
    )
    expect(await reading).toMatchObject({ records: 0 })
  })
})
