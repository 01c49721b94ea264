import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { readErasureRecord } from '@customer-stream/schemas'
import { expect, it } from 'vitest'
import { type ErasureRequest, requestErasure } from './request-erasure.ts'

const request: ErasureRequest = { customerUuid: 'c', scope: 'forever', reason: 'asked by letter', requestedBy: 'ops' }
const setUp = () => {
  const sent: OutgoingRecord[] = []
  return { sent, producer: { send: async (records: readonly OutgoingRecord[]) => void sent.push(...records) } }
}

it('a request for an erasure writes one record, which is a valid erasure', async () => {
  const { sent, producer } = setUp()
  const erasure = await requestErasure(producer, 'erasures', request, 1000)
  expect(erasure).toEqual({ erasedAt: 1000, scope: 'forever', reason: 'asked by letter', requestedBy: 'ops' })
  expect(sent.map(({ topic, timestamp }) => [topic, timestamp])).toEqual([['erasures', 1000]])
  expect(sent.map(readErasureRecord)).toEqual([{ ok: true, value: { customerUuid: 'c', erasure } }])
})

it.each([
  ['an empty customerUuid', { customerUuid: '' }],
  ['a customerUuid without a UTF-8 form', { customerUuid: '\ud800' }],
  ['an unknown scope', { scope: 'ever' as 'forever' }],
  ['a reason that is too long', { reason: 'x'.repeat(1001) }],
  ['no requestedBy', { requestedBy: undefined as unknown as string }],
])('a request for an erasure with %s is rejected, and writes nothing', async (_, wrong) => {
  const { sent, producer } = setUp()
  await expect(requestErasure(producer, 'erasures', { ...request, ...wrong }, 1000)).rejects.toThrow(RangeError)
  expect(sent).toEqual([])
})
