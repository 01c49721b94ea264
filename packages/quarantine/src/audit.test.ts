import { expect, it } from 'vitest'
import { type AuditEntry, createEntries, entryRecord, readEntry } from './audit.ts'
import { originOf } from './record.ts'

const entry: AuditEntry = {
  topicId: 'a1',
  partition: 3,
  offset: '17',
  action: 'redriven',
  origin: 't.customers.raw/5/47@9',
  at: 1700000000000,
  requestedBy: 'ops',
  sentTo: 't.customers.raw',
}

it('an audit entry is read back unchanged', () => {
  const record = entryRecord('t.quarantine.audit', entry)
  expect(record).toMatchObject({ topic: 't.quarantine.audit', key: Buffer.from('3/17'), timestamp: 1700000000000 })
  expect(readEntry(record.value)).toEqual(entry)
})

it.each([
  null,
  '',
  'null',
  '[]',
  '{',
  '"text"',
  JSON.stringify({ ...entry, action: 'deleted' }),
  JSON.stringify({ ...entry, offset: 17 }),
  JSON.stringify({ ...entry, partition: '3' }),
  JSON.stringify({ ...entry, topicId: undefined }),
  JSON.stringify({ ...entry, requestedBy: 7 }),
  JSON.stringify({ ...entry, origin: 7 }),
])('a record of the audit topic that is not an entry is ignored: %j', (value) => {
  expect(readEntry(value === null ? null : Buffer.from(value))).toBeUndefined()
})

it('an audit entry about one copy of a record counts for all copies of this record, and for no other record', () => {
  const copy = (offset: string, receivedAt = 9, from: Readonly<Record<string, string>> = {}) => ({
    partition: 3,
    offset,
    receivedAt,
    headers: { topic: 't.customers.raw', partition: '5', offset: '47', ...from },
  })
  const entries = createEntries('a1')
  expect(entries.add({ ...entry, origin: String(originOf(copy('17'))) })).toBe(true)
  expect(entries.actionFor(copy('18'))).toBe('redriven')
  expect(entries.actionFor(copy('18', 10))).toBeUndefined()
  expect(entries.actionFor(copy('18', 9, { offset: '48' }))).toBeUndefined()
  // The ingress names only the topic.
  expect(entries.actionFor({ ...copy('18'), headers: { topic: 't.customers.raw' } })).toBeUndefined()
})

it('audit entries about an earlier quarantine topic mark no record of the current topic as handled', () => {
  const entries = createEntries('a2')
  expect(entries.add(entry)).toBe(false)
  expect(entries.actionFor({ partition: 3, offset: '17', receivedAt: 9, headers: {} })).toBeUndefined()
})
