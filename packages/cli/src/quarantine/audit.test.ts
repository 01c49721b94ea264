import { expect, it } from 'vitest'
import { type AuditEntry, entryRecord, readEntry } from './audit.ts'

const entry: AuditEntry = {
  topicId: 'a1',
  partition: 3,
  offset: '17',
  action: 'redriven',
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
])('readEntry ignores a record of the audit topic that is not an entry: %j', (value) => {
  expect(readEntry(value === null ? null : Buffer.from(value))).toBeUndefined()
})
