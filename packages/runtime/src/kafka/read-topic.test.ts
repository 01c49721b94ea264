import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { FetchedPart } from './partition-reader.ts'
import { fetchEnds, fetchSettledEnds, type ReadOptions, readPartition } from './read-topic.ts'
import type { TopicAdmin } from './topic-admin.ts'

it('fetchEnds waits until Kafka reports the end of every partition', async () => {
  const ends = [0, 1].map((partition) => ({ partition, low: '0', high: '7' }))
  let asked = 0
  const admin = {
    // An answer of Kafka leaves out a partition without a leader.
    fetchTopicOffsets: async () => (++asked < 3 ? ends.slice(0, 1) : ends),
    describeTopics: async () => new Map([['t', [{ leader: 1 }, { leader: -1 }]]]),
  } as unknown as TopicAdmin
  expect(await fetchEnds(admin, 't')).toEqual(ends)
  expect(asked).toBe(3)
})

it('fetchSettledEnds waits for an open transaction up to a limit, then names the transaction', async () => {
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

describe('readPartition', () => {
  const range = { topic: 't', partition: 0, start: 0n, end: 3n }
  const record = (offset: string) => ({ offset }) as FetchedPart['records'][number]
  const kafkaError = (type: string) => Object.assign(new Error(type), { name: 'KafkaJSProtocolError', type })

  /**
   * Reads with a fake reader, which gives one answer after another and repeats the last answer.
   */
  const read = (answers: (FetchedPart | Error)[], options: Pick<ReadOptions, 'onUnreadable' | 'signal'> = {}) => {
    const offsets: string[] = []
    const asked: string[] = []
    const fetch = async (_: number, offset: string) => {
      asked.push(offset)
      const answer = answers.length > 1 ? answers.shift() : answers[0]
      if (answer instanceof Error) throw answer
      return answer as FetchedPart
    }
    const reading = readPartition({ fetch }, range, { ...options, onRecord: ({ offset }) => offsets.push(offset) })
    return { reading, offsets, asked }
  }

  it('readTopic reads up to the end, and passes on no record at or after the end', async () => {
    const { reading, offsets, asked } = read([
      { records: [record('0')], nextOffset: '1' },
      { records: [], nextOffset: '1' },
      { records: [record('2'), record('3'), record('4')], nextOffset: '5' },
    ])
    await reading
    expect({ offsets, asked }).toEqual({ offsets: ['0', '2'], asked: ['0', '1', '1'] })
  })

  it('readTopic repeats a fetch that failed, but not if a right is missing', async () => {
    const { reading, offsets } = read([new Error('moved'), { records: [record('0')], nextOffset: '3' }])
    await reading
    expect(offsets).toEqual(['0'])
    const denied = read([kafkaError('TOPIC_AUTHORIZATION_FAILED')])
    await expect(denied.reading).rejects.toThrow('TOPIC_AUTHORIZATION_FAILED')
    expect(denied.asked).toHaveLength(1)
  })

  it.each([
    ['fails', new Error('away'), 'away'],
    ['returns nothing', { records: [], nextOffset: '0' }, 'Kafka returns no record of t/0 at or after offset 0'],
  ])('the read of a topic fails if Kafka %s for 30 seconds', async (_, answer, message) => {
    let now = 0
    vi.spyOn(performance, 'now').mockImplementation(() => (now += 20_000))
    onTestFinished(() => void vi.restoreAllMocks())
    const { reading, asked } = read([answer])
    await expect(reading).rejects.toThrow(message)
    expect(asked).toEqual(['0', '0'])
  })

  it('the read of a topic waits longer than 30 seconds for records that a quota delays', async () => {
    let now = 0
    vi.spyOn(performance, 'now').mockImplementation(() => (now += 20_000))
    onTestFinished(() => void vi.restoreAllMocks())
    const delayed = { records: [], nextOffset: '0', isDelayed: true } as const
    const { reading, offsets } = read([delayed, delayed, delayed, { records: [record('2')], nextOffset: '3' }])
    await reading
    expect(offsets).toEqual(['2'])
  })

  it('readTopic ends when its signal aborts', async () => {
    const { reading, asked } = read([new Error('away')], { signal: AbortSignal.abort(new Error('interrupted')) })
    await expect(reading).rejects.toThrow('interrupted')
    expect(asked).toEqual([])
  })

  describe('a range that cannot be read', () => {
    const without = (error: Error) => ({
      records: [],
      nextOffset: '3',
      unreadable: { offset: '0', nextOffset: '3', error },
    })

    it('the read of a topic fails at an unreadable batch, and the error names its partition and offset', async () => {
      await expect(read([without(new Error('damaged'))]).reading).rejects.toThrow(
        'the batch of records at t/0/0 cannot be read: damaged',
      )
    })

    it('readTopic skips an unreadable batch if onUnreadable is given', async () => {
      const noted: unknown[] = []
      const onUnreadable: ReadOptions['onUnreadable'] = ({ offset }, partition) => noted.push([offset, partition])
      await read([without(new Error('damaged'))], { onUnreadable }).reading
      expect(noted).toEqual([['0', 0]])
    })

    it('readTopic does not report records that Kafka has deleted', async () => {
      const onUnreadable = vi.fn()
      await read([without(kafkaError('OFFSET_OUT_OF_RANGE'))], { onUnreadable }).reading
      expect(onUnreadable).not.toHaveBeenCalled()
    })
  })
})
