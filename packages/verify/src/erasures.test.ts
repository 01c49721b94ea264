import { expect, it, onTestFinished } from 'vitest'
import { compareErasedHash, compareErasedState, compareMark, FOREVER, noteErasure } from './erasures.ts'
import { createEvidence } from './evidence.ts'

const setUp = () => {
  const evidence = createEvidence()
  onTestFinished(() => evidence.close())
  const event = (customerUuid: string, timestamp: number) =>
    evidence.event({ customerUuid, timestamp, id: 'e', fields: new Map() }, `0/${timestamp}`, 1, true)
  const note = (customerUuid: string | null, value: unknown) =>
    noteErasure(evidence, {
      key: customerUuid === null ? null : Buffer.from(customerUuid),
      value: value === null ? null : Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
    })
  return { evidence, event, note }
}
const erasure = { erasedAt: 5, scope: 'forever', reason: 'r', requestedBy: 'b' }
const untilNow = { ...erasure, scope: 'until-now' }
const state = { timestamp: 5, id: 'e', content: new Uint8Array(), receivedAt: 1, source: 't/0/1' }

it('a customer counts as erased only if an erasure covers the newest event', () => {
  const { evidence, event, note } = setUp()
  for (const [customerUuid, timestamp] of Object.entries({ always: 9, until: 5, after: 6, other: 5 }))
    event(customerUuid, timestamp)
  note('always', erasure)
  note('until', untilNow)
  note('after', untilNow)
  note('nobody', untilNow)
  expect([...evidence.erased()]).toEqual([
    { customerUuid: 'always', upTo: FOREVER },
    { customerUuid: 'nobody', upTo: 5 },
    { customerUuid: 'until', upTo: 5 },
  ])
  const isErased = (customerUuid: string, timestamp: number) => evidence.isErased({ customerUuid, timestamp })
  expect([isErased('until', 5), isErased('until', 6), isErased('other', 1)]).toEqual([true, false, false])
  expect(evidence.count('erasures')).toBe(4)
  expect(evidence.count('erased')).toBe(3)
  expect(evidence.count('erasedAndSelected')).toBe(2)
  for (const customerUuid of ['until', 'after', 'other']) evidence.wrong(customerUuid, 'differs')
  expect(evidence.count('erasedAndWrong')).toBe(1)
})

it('if a customer has several erasures, only the last is used', () => {
  const { evidence, event, note } = setUp()
  event('c', 6)
  note('c', erasure)
  note('c', untilNow)
  expect([...evidence.erased()]).toEqual([])
  note('c', erasure)
  expect([...evidence.erased()]).toEqual([{ customerUuid: 'c', upTo: FOREVER }])
})

it.each([
  [null, erasure],
  ['', erasure],
  ['c', null],
  ['c', '{'],
  ['c', 'null'],
  ['c', 7],
  ['c', { ...erasure, scope: 'always' }],
  ['c', { ...erasure, erasedAt: '5' }],
  ['c', { ...erasure, erasedAt: 0 }],
  ['c', { ...erasure, reason: undefined }],
  ['c', { ...erasure, reason: 'x'.repeat(1001) }],
  ['c', { ...erasure, requestedBy: 7 }],
])('a record that is not an erasure is skipped: %s %j', (customerUuid, value) => {
  const { evidence, note } = setUp()
  note(customerUuid, value)
  expect(evidence.count('erasures')).toBe(0)
})

it('verify reports an erased customer who still has a hash', () => {
  const wrong = 'was erased but is in Redis'
  expect(compareErasedHash({}, 5, true)).toBeUndefined()
  expect(compareErasedHash({ _eventTimestamp: '5' }, 5, false)).toBe(wrong)
  expect(compareErasedHash({ firstName: 'Ada' }, 5, false)).toBe(wrong)
  expect(compareErasedHash({ _eventTimestamp: '6' }, 5, true)).toBe(wrong)
  // While events arrive, verify reports no problem here, because this event may have arrived after
  // the topic was read.
  expect(compareErasedHash({ _eventTimestamp: '6' }, 5, false)).toBeUndefined()
  expect(compareErasedHash({ _eventTimestamp: '6' }, FOREVER, false)).toBe(wrong)
})

it('verify reports an erased customer whose mark is missing or belongs to another erasure', () => {
  const missing = 'was erased but has no mark in Redis; write the erasure again'
  const other = 'has the mark of another erasure in Redis; write the erasure again'
  expect(compareMark(['forever', '7'], FOREVER, true)).toBeUndefined()
  expect(compareMark(['until-now', '5'], 5, true)).toBeUndefined()
  expect(compareMark([null, null], 5, false)).toBe(missing)
  expect(compareMark(['', '5'], FOREVER, true)).toBe(missing)
  expect(compareMark(['until-now', '5'], FOREVER, true)).toBe(other)
  expect(compareMark(['until-now', null], 5, true)).toBe(other)
  // While erasures arrive, verify reports no problem here, because this mark may be from a later
  // erasure.
  expect(compareMark(['until-now', '6'], 5, false)).toBeUndefined()
})

it("verify reports an erased customer's document, and a missing tombstone", () => {
  const wrong = 'was erased but is in the state topic'
  expect(compareErasedState(null, 5, true)).toBeUndefined()
  expect(compareErasedState(undefined, 5, false)).toBeUndefined()
  expect(compareErasedState(undefined, 5, true)).toBe('was erased but has no tombstone in the state topic')
  expect(compareErasedState(state, 5, false)).toBe(wrong)
  expect(compareErasedState({ ...state, timestamp: 6 }, 5, false)).toBeUndefined()
  expect(compareErasedState({ ...state, timestamp: 6 }, 5, true)).toBe(wrong)
})

it('the tombstone of a customer without events is right only if the customer was erased', () => {
  const { evidence, note } = setUp()
  for (const customerUuid of ['erased', 'other']) evidence.state(customerUuid, null)
  note('erased', erasure)
  expect([...evidence.unknownStates()]).toEqual(['other'])
})
