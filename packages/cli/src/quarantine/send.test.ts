import { NotStoredError, type OutgoingRecord } from '@customer-stream/runtime/kafka'
import { describe, expect, it } from 'vitest'
import { sendEach } from './send.ts'

const record = (text: string): OutgoingRecord => ({ topic: 't', key: null, value: Buffer.from(text), timestamp: 1 })
const records = ['a', 'b', 'c'].map(record)

/** Returns a producer that fails as `failure` says, and the records that it has stored. */
const producerWith = (failure: (texts: readonly string[], attempt: number) => Error | undefined) => {
  const stored: string[] = []
  let attempt = 0
  return {
    stored,
    send: async (batch: readonly OutgoingRecord[]) => {
      const texts = batch.map(({ value }) => String(value))
      attempt += 1
      const error = failure(texts, attempt)
      if (error) throw error
      stored.push(...texts)
    },
  }
}

describe('sendEach', () => {
  it('if Kafka refuses one record, the other records are sent', async () => {
    const producer = producerWith((texts) =>
      texts.includes('b') ? new NotStoredError('refused', new Error('MESSAGE_TOO_LARGE')) : undefined,
    )
    expect([...(await sendEach(producer, records))]).toEqual([[records[1], 'MESSAGE_TOO_LARGE']])
    expect(producer.stored).toEqual(['a', 'c'])
  })

  it('a send is repeated during an outage', async () => {
    const producer = producerWith((_, attempt) =>
      attempt < 3 ? new NotStoredError('unavailable', new Error('no leader')) : undefined,
    )
    expect((await sendEach(producer, records)).size).toBe(0)
    expect(producer.stored).toEqual(['a', 'b', 'c'])
  })

  it('a send is not repeated if a right is missing', async () => {
    const denied = Object.assign(new Error('denied'), { type: 'TOPIC_AUTHORIZATION_FAILED' })
    let attempts = 0
    const producer = producerWith(() => {
      attempts += 1
      return new NotStoredError('unavailable', denied)
    })
    await expect(sendEach(producer, records)).rejects.toThrow('denied')
    expect(attempts).toBe(1)
  })

  it('an empty list of records sends nothing', async () => {
    const producer = producerWith(() => new Error('sent'))
    expect((await sendEach(producer, [])).size).toBe(0)
  })
})
