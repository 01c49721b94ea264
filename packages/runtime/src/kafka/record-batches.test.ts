import { createRequire } from 'node:module'
import { describe, expect, it } from 'vitest'
import { type DecodedRecord, type DecodedRecords, decodeBatches, withoutAborted } from './record-batches.ts'

const require = createRequire(import.meta.url)
// Use kafkajs' encoder, because our own encoder could have the same bug as our decoder.
const encodeRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (record: object) => object
const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0') as {
  RecordBatch(batch: object): Promise<{ buffer: Buffer }>
}
const Long = require('kafkajs/src/utils/long') as { fromValue(value: number | string): unknown }

interface Given {
  readonly key?: Buffer | null
  readonly value?: Buffer | null
  readonly headers?: Record<string, Buffer | Buffer[]>
}
const batchOf = async (
  firstOffset: number,
  records: readonly Given[],
  lastOffsetDelta = records.length - 1,
): Promise<Buffer> => {
  const encoded = records.map(({ key = null, value = null, headers = {} }, i) =>
    encodeRecord({ offsetDelta: i, timestampDelta: i, key, value, headers }),
  )
  const batch = {
    firstOffset: Long.fromValue(firstOffset),
    firstTimestamp: 1000,
    maxTimestamp: 1000,
    lastOffsetDelta,
    records: encoded,
  }
  return (await RecordBatch(batch)).buffer
}
const text = (value: string) => ({ value: Buffer.from(value) })
const seen = (records: DecodedRecords) => records.map(({ offset, value }) => `${offset} ${value}`)

describe('decodeBatches', () => {
  it('decodeBatches returns the records that kafkajs has encoded, for any content', async () => {
    const given: Given[] = [
      {
        key: Buffer.from([0xff, 0xfe, 0]),
        value: Buffer.from('v'),
        headers: { a: Buffer.from([0xc3, 0x28]), ü: [Buffer.from('1'), Buffer.from('2')] },
      },
      { key: null, value: null },
      { key: Buffer.alloc(0), value: Buffer.alloc(0), headers: { ['__proto__']: Buffer.from('p') } },
    ]
    const decoded = await decodeBatches(await batchOf(7, given))
    expect(decoded.map(({ offset, timestamp }) => [offset, timestamp])).toEqual([
      ['7', '1000'],
      ['8', '1001'],
      ['9', '1002'],
    ])
    expect(decoded.map(({ key, value }) => ({ key, value }))).toEqual(given.map(({ key, value }) => ({ key, value })))
    expect(decoded.map(({ headers }) => Object.entries(headers))).toEqual(
      given.map(({ headers = {} }) => Object.entries(headers)),
    )
    expect(decoded.nextOffset).toBe('10')
  })

  it('decodeBatches decodes several batches and ignores an incomplete last batch', async () => {
    const whole = Buffer.concat([await batchOf(0, [text('a')]), await batchOf(1, [text('b'), text('c')])])
    const cut = (await batchOf(3, [text('d')])).subarray(0, -1)
    const decoded = await decodeBatches(Buffer.concat([whole, cut]))
    expect([seen(decoded), decoded.nextOffset, decoded.unreadable]).toEqual([['0 a', '1 b', '2 c'], '3', undefined])
  })

  it('decodeBatches returns the end of a batch whose last records were removed by compaction', async () => {
    expect((await decodeBatches(await batchOf(5, [text('a')], 9))).nextOffset).toBe('15')
    expect((await decodeBatches(await batchOf(5, [], 9))).nextOffset).toBe('15')
  })

  it('decodeBatches decodes 200,000 records of one batch and 50,000 headers of one record', async () => {
    // Use one encoded record for all records except the last. kafkajs' encoder would need seconds
    // for so many records.
    const [first, last] = [0, 199_999].map((offsetDelta) =>
      encodeRecord({ offsetDelta, timestampDelta: 0, key: null, value: null, headers: {} }),
    )
    const records = [...Array.from({ length: 199_999 }, () => first), last]
    const many = await decodeBatches((await RecordBatch({ lastOffsetDelta: 199_999, records })).buffer)
    expect([many.length, many.at(-1)?.offset]).toEqual([200_000, '199999'])
    const headers = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`h${i}`, Buffer.from('v')]))
    const [record] = await decodeBatches(await batchOf(0, [{ headers }]))
    expect(Object.keys(record?.headers ?? {}).length).toBe(50_000)
  })

  it.each([
    ['a record longer than its batch', 61, 0xfe],
    ['a field longer than its record', 66, 0x7e],
    ['a record that lacks a field', 61, 0x02],
    ['a record count greater than its bytes', 57, 0x7f],
    ['a record count that is too small', 60, 1],
    ['an unknown codec', 22, 5],
    ['bytes that are not gzip', 22, 1],
    ['another message format', 16, 1],
  ])('decodeBatches reports a damaged batch with %s and keeps the records before it', async (_, at, byte) => {
    const damaged = await batchOf(2, [text('c'), text('d')])
    damaged[at] = byte
    const decoded = await decodeBatches(
      Buffer.concat([await batchOf(0, [text('a'), text('b')]), damaged, await batchOf(4, [text('e')])]),
    )
    expect([seen(decoded), decoded.nextOffset]).toEqual([['0 a', '1 b'], '2'])
    expect(decoded.unreadable).toEqual({ offset: '2', nextOffset: '4', error: expect.any(Error) })
  })
})

describe('a batch whose head is damaged', () => {
  const LENGTH_AT = 8
  const LAST_OFFSET_DELTA_AT = 23
  it.each([-1, 0, 1000])(
    'decodeBatches skips no record if a damaged head has the last offset delta %i',
    async (delta) => {
      const damaged = await batchOf(2, [text('c'), text('d')])
      damaged.writeInt32BE(delta, LAST_OFFSET_DELTA_AT)
      const decoded = await decodeBatches(Buffer.concat([await batchOf(0, [text('a'), text('b')]), damaged]))
      expect([seen(decoded), decoded.nextOffset]).toEqual([['0 a', '1 b'], '2'])
      expect(decoded.unreadable).toEqual({
        offset: '2',
        nextOffset: '4',
        error: new RangeError('damaged batch: its checksum is wrong'),
      })
    },
  )

  it.each([-1, 0, 1000])(
    'decodeBatches does not skip a record that cannot be decoded (last offset delta %i)',
    async (delta) => {
      const damaged = await batchOf(2, [text('c'), text('d')])
      damaged.writeInt32BE(delta, LAST_OFFSET_DELTA_AT)
      damaged[61] = 0xfe
      const next = await batchOf(4, [text('e')])
      const decoded = await decodeBatches(Buffer.concat([await batchOf(0, [text('a'), text('b')]), damaged, next]))
      expect([seen(decoded), decoded.unreadable?.nextOffset]).toEqual([['0 a', '1 b'], '4'])
    },
  )

  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8])(
    'decodeBatches skips no record if bit %i of the length is damaged',
    async (bit) => {
      const good = await batchOf(0, [text('a'), text('b')])
      const damaged = await batchOf(2, [text('c'), text('d')])
      damaged.writeInt32BE(damaged.readInt32BE(LENGTH_AT) ^ (1 << bit), LENGTH_AT)
      const next = await Promise.all([4, 5, 6, 7, 8, 9].map((offset) => batchOf(offset, [text('e')])))
      const decoded = await decodeBatches(Buffer.concat([good, damaged, ...next]))
      expect([seen(decoded), decoded.unreadable?.nextOffset]).toEqual([['0 a', '1 b'], '4'])
    },
  )
})

describe('withoutAborted', () => {
  const record = (offset: number, producer: string, more: Partial<DecodedRecord> = {}): DecodedRecord => ({
    offset: String(offset),
    timestamp: '0',
    key: null,
    value: Buffer.from(producer),
    headers: {},
    attributes: 0,
    isControlRecord: false,
    batchContext: { producerId: producer, inTransaction: producer !== '-1' },
    ...more,
  })
  const abort = (offset: number, producer: string) =>
    record(offset, producer, { isControlRecord: true, key: Buffer.from([0, 0, 0, 0]) })
  const kept = (records: DecodedRecord[], transactions: { producerId: string; firstOffset: string }[]) =>
    withoutAborted(records, transactions)
      .filter(({ isControlRecord }) => !isControlRecord)
      .map(({ offset }) => Number(offset))

  it('withoutAborted removes aborted transactions that Kafka lists in the order of their end', () => {
    const records = [record(0, 'A'), record(1, 'B'), abort(2, 'B'), record(3, 'A'), abort(4, 'A'), record(5, 'A')]
    const transactions = [
      { producerId: 'B', firstOffset: '1' },
      { producerId: 'A', firstOffset: '0' },
    ]
    expect(kept(records, transactions)).toEqual([5])
  })

  it('withoutAborted removes several aborted transactions that began before the fetch', () => {
    const records = [
      record(10, 'B'),
      record(11, 'A'),
      record(12, '-1'),
      abort(13, 'A'),
      abort(14, 'B'),
      record(15, 'B'),
    ]
    const transactions = [
      { producerId: 'A', firstOffset: '0' },
      { producerId: 'B', firstOffset: '1' },
    ]
    expect(kept(records, transactions)).toEqual([12, 15])
  })

  it('a record with the key of an abort marker does not end a transaction', () => {
    const records = [record(0, 'A', { key: Buffer.from([0, 0, 0, 0]) }), record(1, 'A'), abort(2, 'A')]
    expect(kept(records, [{ producerId: 'A', firstOffset: '0' }])).toEqual([])
  })
})
