import { murmur2 } from '@customer-stream/schemas/partitioner'
import { expect, it, onTestFinished } from 'vitest'
import { compareState, noteState } from './compare-state.ts'
import { createEvidence } from './evidence.ts'
import { readEvent } from './read-event.ts'

const PARTITIONS = 3
const RECEIVED = 1000
const key = Buffer.from('c')
const partition = (murmur2(key) & 0x7fffffff) % PARTITIONS
const newest = { customerUuid: 'c', timestamp: 5, id: 'e' }

const document = {
  customerUuid: 'c',
  version: { timestamp: 5, id: 'e' },
  dealerUuid: 'd',
  customer: { customerUuid: 'c', firstName: 'Ada', id: 7 },
  vehicles: [{ vin: 'V' }],
  addresses: [{ zip: '1' }],
  other: { segment: 'a' },
  receivedAt: RECEIVED,
  source: { topic: 'raw', partition: 0, offset: '42' },
}

/**
 * Stores one event of the customers topic, at offset 42, with its addresses inside the customer.
 */
const setUp = () => {
  const evidence = createEvidence()
  onTestFinished(() => evidence.close())
  const { customer, vehicles, addresses, other } = document
  const customerWithVehicles = { customer: { ...customer, addresses }, vehicles, ...other }
  const event = { id: 'e', timestamp: 5, type: 'customers', dealeruuid: 'd', payload: { customerWithVehicles } }
  const reading = readEvent(Buffer.from(JSON.stringify(event)), { receivedAt: RECEIVED, maxFutureMs: 0 })
  if (!reading.usable) throw new Error(reading.reason)
  evidence.event(reading.event, '0/42', RECEIVED, true)
  const ranges = new Map([[0, { start: 0n, end: 43n }]])
  const note = (value: object | string | null, at = partition) =>
    noteState(
      evidence,
      { key, value: value === null ? null : Buffer.from(JSON.stringify(value)), partition: at },
      PARTITIONS,
    )
  return {
    evidence,
    note,
    compare: (exact = true, end = 43n) =>
      compareState(newest, evidence, { topic: 'raw', ranges, endNow: () => end, exact }),
  }
}

it('the last record of the state topic must be the document of the newest event', () => {
  const { note, compare, evidence } = setUp()
  note({ ...document, version: { timestamp: 4, id: 'e' } })
  note(null)
  note(document)
  expect([compare(), evidence.wrongs(9), [...evidence.unknownStates()]]).toEqual([undefined, [], []])
})

it.each(['receivedAt', 'topic', 'partition', 'offset'])(
  'verify reports a record that is not a document, because its %s is a number of 20 digits or an object',
  (member) => {
    for (const wrong of ['12345678901234567890', '{"toString":1}']) {
      const { evidence } = setUp()
      const source = { ...document.source, ...(member in document.source && { [member]: 'wrong' }) }
      const text = JSON.stringify({ ...document, ...(member === 'receivedAt' && { receivedAt: 'wrong' }), source })
      const value = Buffer.from(text.replace('"wrong"', wrong))
      noteState(evidence, { key, value, partition }, PARTITIONS)
      const reason = 'has a record in the state topic that is not a document'
      expect(evidence.wrongs(9)).toEqual([{ customerUuid: 'c', reason }])
    }
  },
)

it.each<[string, (typeof document & Record<string, unknown>) | null]>([
  ['is erased', null],
  ['is older', { ...document, version: { timestamp: 4, id: 'e' } }],
  ['is older', { ...document, version: { timestamp: 5, id: 'd' } }],
  ['is newer', { ...document, version: { timestamp: 6, id: 'e' } }],
  ['differs', { ...document, customer: { ...document.customer, firstName: 'Eve' } }],
  ['differs', { ...document, vehicles: [] }],
  ['differs', { ...document, addresses: [] }],
  ['differs', { ...document, other: { segment: 'b' } }],
  ['differs', { ...document, dealerUuid: 'x' }],
  ['has a source', { ...document, source: { ...document.source, offset: '43' } }],
  ['has a source', { ...document, source: { ...document.source, topic: 'another' } }],
  ['has a receivedAt in the state topic that differs', { ...document, receivedAt: RECEIVED + 1 }],
])('verify reports "%s" for the last record of the state topic: %j', (words, last) => {
  const { note, compare } = setUp()
  note(document)
  note(last)
  expect(compare()).toMatch(new RegExp(words))
})

it('verify reports a customer that is missing in the state topic', () => {
  expect(setUp().compare()).toBe('is missing in the state topic')
})

it('verify reports a document in a wrong partition even if the right partition has none, and plans no repair', () => {
  const { note, compare, evidence } = setUp()
  note(document, (partition + 1) % PARTITIONS)
  evidence.wrong('c', compare() ?? '')
  const [wrong] = evidence.wrongs(9)
  expect([wrong?.reason, evidence.repairable(9)]).toEqual(['has a record in a wrong partition of the state topic', []])
})

it('verify accepts a newer document while events still arrive', () => {
  const { note, compare } = setUp()
  note({ ...document, version: { timestamp: 6, id: 'e' } })
  expect(compare(false)).toBeUndefined()
})

it('verify accepts the document of a repeat that arrived after the customers topic was read', () => {
  const { note, compare } = setUp()
  note({ ...document, source: { ...document.source, offset: '43' }, receivedAt: RECEIVED + 9 })
  expect(compare(false, 44n)).toBeUndefined()
  expect(compare(false)).toMatch(/^has a source in the state topic/)
})

it('verify reports a record of the state topic that no projector would write', () => {
  const { note, evidence } = setUp()
  note('no document')
  expect(evidence.wrongs(9)).toEqual([
    { customerUuid: 'c', reason: 'has a record in the state topic that is not a document' },
  ])
  note({ ...document, customerUuid: 'other' })
  note(document, (partition + 1) % PARTITIONS)
  expect(evidence.wrongs(9)).toEqual([
    { customerUuid: 'c', reason: 'has a record in a wrong partition of the state topic' },
  ])
  const alone = createEvidence()
  onTestFinished(() => alone.close())
  noteState(alone, { key, value: Buffer.from(JSON.stringify(document)), partition }, PARTITIONS)
  expect([...alone.unknownStates()]).toEqual(['c'])
})
