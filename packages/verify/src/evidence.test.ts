import { afterEach, expect, it } from 'vitest'
import { createEvidence } from './evidence.ts'

let evidence = createEvidence()
afterEach(() => {
  evidence.close()
  evidence = createEvidence()
})
const event = (customerUuid: string, timestamp: number, id: string) => ({
  customerUuid,
  timestamp,
  id,
  fields: new Map(),
})

it('verify reports a customer whose newest event is older than an acknowledged event', () => {
  for (const [i, customerUuid] of ['absent', 'older', 'lesser', 'equal', 'newer'].entries()) {
    evidence.promise(String(i), { customerUuid, timestamp: 5, id: 'b' })
    evidence.promise(`${i} before`, { customerUuid, timestamp: 4, id: 'z' })
  }
  evidence.event(event('older', 4, 'c'), '0/1', 1, true)
  evidence.event(event('lesser', 5, 'a'), '0/2', 1, true)
  evidence.event(event('equal', 5, 'b'), '0/3', 1, true)
  evidence.event(event('newer', 6, 'a'), '0/4', 1, true)
  evidence.comparePromises('is behind')
  expect(evidence.wrongs(10).map(({ customerUuid }) => customerUuid)).toEqual(['absent', 'lesser', 'older'])
  expect(evidence.count('wrong')).toBe(3)
})

it('if two events have the same timestamp, the event with the greater id bytes is the newest', () => {
  for (const id of ['\ue000', '\u{10000}', 'z', '\ue000']) evidence.event(event('c', 1, id), `0/${id.length}`, 1, true)
  expect([...evidence.expected(10)]).toEqual([[{ customerUuid: 'c', timestamp: 1, id: '\u{10000}' }]])
  expect(evidence.copyAt('c', '0/1')).toBeUndefined()
})

it('an older event can select a customer, but verify compares the newest event', () => {
  evidence.event(event('c', 1, 'a'), '0/1', 1, true)
  evidence.event(event('c', 2, 'a'), '0/2', 1, false)
  evidence.event(event('d', 2, 'a'), '0/3', 1, false)
  evidence.event(event('d', 1, 'a'), '0/4', 1, true)
  evidence.event(event('e', 1, 'a'), '0/5', 1, false)
  expect([...evidence.expected(1)].flat().map(({ customerUuid, timestamp }) => [customerUuid, timestamp])).toEqual([
    ['c', 2],
    ['d', 2],
  ])
  expect(evidence.isKnown('e')).toBe(true)
})

it('a record counts as quarantined if quarantine has its offset, with the same bytes or without a value', () => {
  const [digest, other] = [Buffer.from('a'), Buffer.from('b')]
  for (const place of ['t/0/1', 't/0/2', 't/0/3', 't/0/4'])
    evidence.unusable({ place, reason: 'not-json', receivedAt: Number(place.at(-1)), digest })
  evidence.quarantined('t/0/1', digest)
  evidence.quarantined('t/0/2', null)
  evidence.quarantined('t/0/3', other)
  expect(evidence.notQuarantined(0)).toEqual({ count: 2, places: ['t/0/3', 't/0/4'] })
  expect(evidence.notQuarantined(4)).toEqual({ count: 1, places: ['t/0/4'] })
  expect(evidence.unusableByReason()).toEqual({ 'not-json': 4 })
})

it('an unusable record may be missing in quarantine only if a usable event supersedes it', () => {
  const digest = Buffer.from('a')
  const unusable = (place: string, customerUuid: string, timestamp: number, id: string) =>
    evidence.unusable({
      place,
      reason: 'not-utf8',
      receivedAt: 1,
      digest,
      supersedable: { customerUuid, timestamp, id },
    })
  evidence.event(event('c', 5, 'b'), '0/1', 1, true)
  evidence.event(event('d', 9, 'b'), '0/2', 1, false)
  unusable('older', 'c', 4, 'z')
  unusable('lesser', 'c', 5, 'a')
  unusable('equal', 'c', 5, 'b')
  unusable('greater', 'c', 5, 'c')
  unusable('newer', 'c', 6, 'a')
  unusable('other', 'e', 1, 'a')
  unusable('not asked for', 'd', 8, 'a')
  evidence.unusable({ place: 'unreadable', reason: 'not-json', receivedAt: 1, digest })
  expect(evidence.notQuarantined(0)).toEqual({ count: 4, places: ['greater', 'newer', 'other', 'unreadable'] })
})

it('repeated acknowledgements are counted, and each missing event is listed once', () => {
  for (const print of ['a', 'a', 'b', 'c']) evidence.promise(print, { customerUuid: null, timestamp: 1, id: print })
  evidence.found('a')
  expect([evidence.count('promises'), evidence.count('promisedEvents'), evidence.count('missing')]).toEqual([4, 3, 2])
  expect(evidence.missing(1)).toEqual([{ id: 'b', customerUuid: null }])
})

it('a wrong customer can be repaired from the last record of its newest event, if this event is not erased', () => {
  evidence.event(event('c', 1, 'a'), '0/30', 1, true)
  evidence.event(event('c', 2, 'a'), '0/9', 1, true)
  evidence.event(event('c', 2, 'a'), '0/10', 1, true)
  evidence.event(event('right', 1, 'a'), '0/11', 1, true)
  evidence.event(event('erased', 1, 'a'), '0/12', 1, true)
  evidence.erasure('erased', 1)
  for (const customerUuid of ['c', 'erased', 'only in the state topic']) evidence.wrong(customerUuid, 'is wrong')
  expect(evidence.repairable(10)).toEqual([{ customerUuid: 'c', partition: 0, offset: 10n }])
  expect([evidence.count('wrong'), evidence.count('repairable')]).toEqual([3, 1])
})

it('a problem of an index does not hide an earlier problem of the customer', () => {
  evidence.wrong('c', 'is missing')
  evidence.wrongEntry('c', 'has an index entry (phone) that its field _index does not name')
  evidence.wrongEntry('d', 'is missing in 1 of its indexes')
  expect(evidence.wrongs(10)).toEqual([
    { customerUuid: 'c', reason: 'is missing' },
    { customerUuid: 'd', reason: 'is missing in 1 of its indexes' },
  ])
})

it('if no repair corrects a problem, this problem replaces the other problems of the customer', () => {
  evidence.event(event('c', 1, 'a'), '0/1', 1, true)
  evidence.wrong('c', 'differs in content')
  evidence.unrepairable('c', 'has a record in a wrong partition of the state topic')
  evidence.wrong('c', 'is missing in the state topic')
  expect(evidence.wrongs(10)).toEqual([
    { customerUuid: 'c', reason: 'has a record in a wrong partition of the state topic' },
  ])
  expect([evidence.count('wrong'), evidence.count('repairable'), evidence.repairable(10)]).toEqual([1, 0, []])
})
