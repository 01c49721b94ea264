import { explanationOf, keyTextOf, readQuarantined } from '@customer-stream/quarantine'
import { expect, it } from 'vitest'
import { escaped, hexLines, readText } from './bytes.ts'
import { createSummary, summaryLines } from './summary.ts'

it('bytes are shown as text only if they are valid in their declared charset', () => {
  expect(readText(Buffer.from('Jos\u00e9'), undefined)).toBe('Jos\u00e9')
  expect(readText(Buffer.from('Jos\u00e9', 'latin1'), undefined)).toBeUndefined()
  expect(readText(Buffer.from('Jos\u00e9', 'latin1'), 'text/plain; charset=iso-8859-1')).toBe('Jos\u00e9')
})

it('bytes of a record cannot control the terminal', () => {
  expect(escaped('a\n\tb\x1b[2J\u202e')).toBe('a\n\tb\\u{1b}[2J\\u{202e}')
  expect([...hexLines(Buffer.from([0x41, 0x1b, 0xff]))]).toEqual([`00000000  41 1b ff${' '.repeat(40)} A..`])
})

it('a quarantine record with unknown or missing headers can be read', () => {
  const fetched = { offset: '7', timestamp: '-1', key: Buffer.from([0xff]), value: null }
  expect(readQuarantined(fetched, 2)).toMatchObject({ partition: 2, reason: '', stage: '', source: undefined })
  const headers = { reason: [Buffer.from('new-reason'), Buffer.from('second')], topic: Buffer.from('raw') }
  const record = readQuarantined({ ...fetched, headers }, 2)
  expect(record).toMatchObject({ reason: 'new-reason', source: 'raw' })
  expect(keyTextOf(record)).toBeUndefined()
  expect(explanationOf('new-reason')).toContain('does not know the reason')
  expect(explanationOf('__proto__')).toContain('does not know the reason')
  expect(explanationOf('not-json')).toBe('The record is not JSON.')
  expect(explanationOf('too-far-in-future')).toBe(
    'The record has a timestamp that is later than its receipt by more than MAX_FUTURE_MS.',
  )
})

it('the summary keeps at most 200 different reasons, and adds up the others', () => {
  const summary = createSummary()
  for (let i = 0; i < 1000; i++) summary.count(`reason-${i}`)
  summary.count('not-json', 'dropped')
  const { records, byReason, handled } = summary.get()
  expect([records, Object.keys(byReason).length, handled]).toEqual([1001, 201, { redriven: 0, dropped: 1 }])
  expect(byReason['(other reasons)']).toBe(800)
})

it('the summary counts handled and open records separately, and names the option that lists handled records', () => {
  const summary = createSummary()
  summary.count('not-json')
  summary.count('__proto__', 'redriven')
  expect(summary.get()).toMatchObject({ records: 2, open: 1, byReason: { 'not-json': 1 } })
  expect(summaryLines(summary.get(), false)).toEqual([
    '1 open record, by reason:',
    `  ${'not-json'.padEnd(28)}        1`,
    'Handled: 1 redriven, 0 dropped (not listed; --all lists them)',
  ])
})

it('the summary counts further copies of an open record separately', () => {
  const summary = createSummary()
  summary.count('not-json')
  for (let i = 0; i < 3; i++) summary.count('not-json', undefined, true)
  expect(summary.get()).toMatchObject({ records: 4, open: 1, copies: 3, byReason: { 'not-json': 1 } })
  expect(summaryLines(summary.get(), false)).toContain(
    'Further copies of open records: 3 (not listed; --all lists them)',
  )
})
