import { createRequire } from 'node:module'
import { anyText } from '@customer-stream/testing/any-text'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import '../client.ts'
import { decodeBatches } from '../record-batches.ts'
import { encodeProduce, type ProduceArguments } from './produce-request.ts'

const require = createRequire(import.meta.url)
type Create = (args: ProduceArguments) => { encode(): Promise<{ buffer: Buffer }> }
/** kafkajs' own request, which no patch changes. */
const kafkajsRequest = require('kafkajs/src/protocol/requests/produce/v3/request') as Create
const { protocol } = require('kafkajs/src/protocol/requests/produce') as {
  protocol(options: { version: number | string }): (args: ProduceArguments) => {
    request: ReturnType<Create> & { expectResponse(): boolean }
    response: { decode(bytes: Buffer): Promise<unknown> }
  }
}
const kafkajsBytes = async (args: ProduceArguments) => (await kafkajsRequest(args).encode()).buffer
const sentBytes = async (args: ProduceArguments, version: number | string = 7) =>
  (await protocol({ version })(args).request.encode()).buffer

const requestOf = (...messages: ProduceArguments['topicData'][number]['partitions'][number]['messages'][number][]) => ({
  acks: -1,
  timeout: 1500,
  topicData: [{ topic: 'customers.raw', partitions: [{ partition: 3, messages }] }],
})

const buffer = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array))
// These lengths are around the limits at which a varint needs one more byte.
const sized = fc.constantFrom(0, 1, 63, 64, 8191, 8192, 70_000).map((length) => Buffer.alloc(length, 0xe9))
const bytes = fc.oneof(fc.constant(null), buffer(80), anyText({ maxLength: 20 }), sized)
const headerValue = fc.oneof(buffer(40), anyText({ maxLength: 20 }))
const message = fc.record({
  key: bytes,
  value: bytes,
  // Use timestamps of equal length, because kafkajs compares timestamps as text.
  timestamp: fc.integer({ min: 1_000_000_000_000, max: 9_999_999_999_999 }).map(String),
  headers: fc.oneof(
    fc.constant(undefined),
    fc.dictionary(anyText({ maxLength: 10 }), fc.oneof(headerValue, fc.array(headerValue, { maxLength: 3 }))),
  ),
})
const request = fc.record({
  acks: fc.constantFrom(-1, 1),
  timeout: fc.nat(),
  topicData: fc.array(
    fc.record({
      topic: fc.string({ unit: 'grapheme', maxLength: 30 }),
      partitions: fc.array(
        fc.record({ partition: fc.nat(), messages: fc.array(message, { minLength: 1, maxLength: 5 }) }),
        { maxLength: 4 },
      ),
    }),
    { maxLength: 3 },
  ),
})

describe('encodeProduce', () => {
  it('the encoder writes the same bytes as kafkajs for any records', async () => {
    await fc.assert(
      fc.asyncProperty(request, async (args) => {
        expect(encodeProduce(args).buffer.equals(await kafkajsBytes(args))).toBe(true)
      }),
      { seed: 2, numRuns: 200 },
    )
  })

  it('the encoder writes the same bytes as kafkajs for many records and a large record', async () => {
    const many = Array.from({ length: 20_000 }, (_, i) => ({
      key: Buffer.from(`${i}`),
      value: Buffer.from(`value ${i}`),
      timestamp: `${1_700_000_000_000 + ((i * 7919) % 3_600_000)}`,
      headers: { signature: `sha256=${i}` },
    }))
    const large = { key: null, value: Buffer.alloc(2 ** 21 + 1, 'x'), timestamp: '1700000000000' }
    for (const args of [requestOf(...many), requestOf(large)])
      expect(encodeProduce(args).buffer.equals(await kafkajsBytes(args))).toBe(true)
  })

  it('a batch with numbers has the same bytes as a batch of kafkajs’ idempotent producer', async () => {
    const given = { key: Buffer.from('k'), value: Buffer.from('v'), timestamp: '1700000000000' }
    const numbers = { producerId: 2n ** 62n, epoch: 32_767, sequence: 2 ** 31 - 2 }
    const { topicData, ...plain } = requestOf(given, given)
    const [{ topic, partitions }] = topicData as [(typeof topicData)[0]]
    const idempotent = {
      ...plain,
      producerId: String(numbers.producerId),
      producerEpoch: numbers.epoch,
      topicData: [{ topic, partitions: partitions.map((each) => ({ ...each, firstSequence: numbers.sequence })) }],
    }
    const sent = encodeProduce(requestOf({ ...given, numbers }, given)).buffer
    expect(sent.equals(await kafkajsBytes(idempotent))).toBe(true)
  })

  it('records without a timestamp get the time of the request', async () => {
    const now = 1_700_000_000_123
    const plain = { key: null, value: Buffer.from('v') }
    const dated = { ...plain, timestamp: String(now) }
    expect(encodeProduce(requestOf(plain, plain), now).buffer.equals(await kafkajsBytes(requestOf(dated, dated)))).toBe(
      true,
    )
  })

  it('the encoder compares timestamps as numbers, not as text', async () => {
    const value = Buffer.from('v')
    const args = requestOf({ value, timestamp: '9' }, { value, timestamp: 10 }, { value, timestamp: '0' })
    // Skip the fields before the batch: acks, timeout, topic, partition, counts and the batch's
    // length.
    const batch = encodeProduce(args).buffer.subarray(12 + 2 + 'customers.raw'.length + 4 + 4 + 4)
    expect((await decodeBatches(batch)).map(({ timestamp }) => timestamp)).toEqual(['9', '10', '0'])
    expect([batch.readBigInt64BE(27), batch.readBigInt64BE(35)]).toEqual([0n, 10n])
  })
})

describe('patchProduceRequest', () => {
  // Only kafkajs' encoder has a field `offset`.
  const encoderOf = async (args: ProduceArguments, version: number | string) =>
    'offset' in (await protocol({ version })(args).request.encode()) ? 'kafkajs' : 'ours'
  const plain = requestOf({ key: Buffer.from('k'), value: Buffer.from('v'), timestamp: '1700000000000' })

  it('the patch encodes our produce requests of version 3 and later', async () => {
    for (const version of [3, 4, 5, 6, '7']) {
      expect(await encoderOf(plain, version)).toBe('ours')
      expect((await sentBytes(plain, version)).equals(await kafkajsBytes(plain))).toBe(true)
    }
    expect(await encoderOf(plain, 2)).toBe('kafkajs')
  })

  it('compressed, idempotent and transactional requests are encoded by kafkajs', async () => {
    for (const special of [{ compression: 1 }, { producerId: '7', producerEpoch: 2 }, { transactionalId: 't' }]) {
      const args = { ...plain, ...special }
      expect(await encoderOf(args, 7)).toBe('kafkajs')
      expect((await sentBytes(args)).equals(await kafkajsBytes(args))).toBe(true)
    }
  })

  it('a request waits for a response only if its own acks ask for a response', () => {
    const waits = (acks: number) => protocol({ version: 7 })({ ...plain, acks }).request.expectResponse()
    expect([-1, 0, 1, 0].map(waits)).toEqual([true, false, true, false])
  })

  it('the memory of a request is used again only after its response', async () => {
    const produce = () => protocol({ version: 7 })(plain)
    const memoryOf = async (made: ReturnType<typeof produce>) => (await made.request.encode()).buffer.buffer
    const [answered, unanswered] = [produce(), produce()]
    const [first, second] = [await memoryOf(answered), await memoryOf(unanswered)]
    expect(second).not.toBe(first)
    const response = Buffer.alloc(8) // no topics, no throttling
    await answered.response.decode(response)
    expect(await memoryOf(produce())).toBe(first)
    expect(await memoryOf(produce())).not.toBe(second)
  })
})
