import { matches, type QuarantinedRecord, requireReason } from '@customer-stream/quarantine'
import { describe, expect, it } from 'vitest'
import { readFilters, readSelection } from './selection.ts'

const select = (words: readonly string[], texts: Readonly<Record<string, string>> = {}) =>
  readSelection({ words, texts })

describe('the selection of records', () => {
  it('the given places of records are sorted, and repeated places are dropped', () => {
    expect(select(['2/10', '0/9', '2/9', '0/009']).places).toEqual([
      { partition: 0, offset: '9' },
      { partition: 2, offset: '9' },
      { partition: 2, offset: '10' },
    ])
  })

  it.each([
    [[], {}, 'nothing is selected'],
    [['0/1'], { reason: 'x', limit: '1' }, 'either name records, or use --reason and --limit'],
    [['t/0/1'], {}, 'is not a place in quarantine'],
    [['0/-1'], {}, 'is not a place in quarantine'],
    [['0/1e3'], {}, 'is not a place in quarantine'],
    [[], { since: 'yesterday' }, '--since is not a valid time'],
    [[], { since: '2026-01-02', until: '2026-01-01' }, '--until must be after --since'],
    [[], { limit: '1.5' }, '--limit must be a whole number from 0'],
    [[], { limit: '' }, '--limit must be a whole number from 0'],
  ])('a selection with the words %j and the options %j is refused', (words, texts, message) => {
    expect(() => select(words, texts)).toThrow(message)
  })
})

it('if no record has the given reason, the error names the most similar reason', () => {
  expect(() => requireReason('not-utf8')).not.toThrow()
  expect(() => requireReason('not-utf-8')).toThrow('no record has the reason "not-utf-8"')
  expect(() => requireReason('not-utf-8')).toThrow('the nearest reason is not-utf8')
  expect(() => requireReason('__proto__')).toThrow('this version does not know this reason')
})

describe('the filters of a selection', () => {
  const body = JSON.stringify({ payload: JSON.stringify({ customer: { customerUuid: 'c1' } }) })
  const record: QuarantinedRecord = {
    partition: 0,
    offset: '0',
    receivedAt: Date.parse('2026-01-01T00:00:00Z'),
    reason: 'unknown-reason',
    stage: 'ingress',
    source: undefined,
    key: Buffer.from('k1'),
    value: Buffer.from(body),
    headers: {},
  }
  it.each([
    [{}, true],
    [{ reason: 'unknown-reason' }, true],
    [{ reason: 'unknown' }, false],
    [{ since: '2026-01-01T00:00:00Z' }, true],
    [{ since: '2026-01-01T00:00:01Z' }, false],
    [{ until: '2026-01-01T00:00:00Z' }, false],
    [{ until: '2026-01-01T00:00:01Z' }, true],
    [{ customer: 'k1' }, true],
    [{ customer: 'c1' }, true],
    [{ customer: 'c' }, false],
    [{ customer: 'c1', reason: 'other' }, false],
  ])('a comparison of the record with the filters %j gives %j', (texts, expected) => {
    expect(matches(readFilters(texts as Record<string, string>).filters, record)).toBe(expected)
  })
})
