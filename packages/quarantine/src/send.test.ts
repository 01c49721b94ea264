import { NotStoredError, type OutgoingRecord } from '@customer-stream/runtime/kafka'
import { describe, expect, it } from 'vitest'
import { sendEach } from './send.ts'

const record = (text: string): OutgoingRecord => ({ topic: 't', key: null, value: Buffer.from(text), timestamp: 1 })
const records = ['a', 'b', 'c'].map(record)
/** Returns the partition that a fake producer selects for a record. */
const partitionOf = ({ value }: OutgoingRecord) => (String(value) === 'far' ? 1 : 0)

/**
 * Returns a producer, and the records that it has stored. A send fails with the error that
 * `failure` returns.
 */
const producerWith = (failure: (texts: readonly string[], attempt: number) => Error | undefined) => {
  const stored: string[] = []
  let attempt = 0
  return {
    stored,
    partitionOf,
    send: async (batch: readonly OutgoingRecord[]) => {
      const texts = batch.map(({ value }) => String(value))
      attempt += 1
      const error = failure(texts, attempt)
      if (error) throw error
      stored.push(...texts)
    },
  }
}

describe('a send of several records', () => {
  it('if Kafka refuses one record, the other records are sent', async () => {
    const producer = producerWith((texts) =>
      texts.includes('b') ? new NotStoredError('refused', new Error('MESSAGE_TOO_LARGE')) : undefined,
    )
    const { refusals, failures } = await sendEach(producer, records)
    expect([[...refusals], failures.size]).toEqual([[[records[1], 'MESSAGE_TOO_LARGE']], 0])
    expect(producer.stored).toEqual(['a', 'c'])
  })

  it('a send is repeated during an outage', async () => {
    const producer = producerWith((_, attempt) =>
      attempt < 3 ? new NotStoredError('unavailable', new Error('no leader')) : undefined,
    )
    expect(await sendEach(producer, records)).toEqual({ refusals: new Map(), failures: new Map() })
    expect(producer.stored).toEqual(['a', 'b', 'c'])
  })

  it('a send is not repeated if a right is missing', async () => {
    const denied = Object.assign(new Error('denied'), { type: 'TOPIC_AUTHORIZATION_FAILED' })
    let attempts = 0
    const producer = producerWith(() => {
      attempts += 1
      return new NotStoredError('unavailable', denied)
    })
    const { failures } = await sendEach(producer, records)
    expect([attempts, [...failures.keys()]]).toEqual([1, records])
  })

  it('during an outage of one partition, no record of another partition is sent again', async () => {
    const sent: string[] = []
    const send = async (batch: readonly OutgoingRecord[]) => {
      sent.push(...batch.map(({ value }) => String(value)))
      const isDown = sent.filter((text) => text === 'far').length < 3
      if (isDown && sent.at(-1) === 'far') throw new NotStoredError('unavailable', new Error('no leader'))
    }
    await sendEach({ send, partitionOf }, [...records, record('far')])
    expect(sent).toEqual(['a', 'b', 'c', 'far', 'far', 'far'])
  })

  it('the records of a partition that stays unavailable do not count as stored', async () => {
    const producer = producerWith((texts) =>
      texts.includes('far') ? new NotStoredError('unavailable', new Error('no leader')) : undefined,
    )
    const far = record('far')
    const { failures } = await sendEach(producer, [...records, far], 50)
    expect([producer.stored, [...failures.keys()]]).toEqual([['a', 'b', 'c'], [far]])
  })

  it('an empty list of records sends nothing', async () => {
    const producer = producerWith(() => new Error('sent'))
    expect((await sendEach(producer, [])).failures.size).toBe(0)
  })
})
