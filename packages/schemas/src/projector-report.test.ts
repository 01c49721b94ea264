import { expect, it } from 'vitest'
import { type ProjectorReport, readReport } from './projector-report.ts'

const REPORT: ProjectorReport = {
  at: 1728542294120,
  outcomes: { applied: 5, stale: 0 },
  freshness: [
    { maxMs: 5, chunks: 2 },
    { maxMs: null, chunks: 1 },
  ],
  lostRecords: 0,
}

it('readReport returns a report as it was written', () => {
  expect(readReport(JSON.stringify(REPORT))).toEqual(REPORT)
})

it('readReport reads the report of an older projector, which lacks the field lostRecords', () => {
  const { lostRecords, ...older } = REPORT
  expect(readReport(JSON.stringify(older))).toEqual(older)
})

it.each([
  '',
  'x',
  'null',
  '[]',
  '{}',
  JSON.stringify({ ...REPORT, at: 'x' }),
  JSON.stringify({ ...REPORT, outcomes: { applied: -1 } }),
  JSON.stringify({ ...REPORT, outcomes: null }),
  JSON.stringify({ ...REPORT, freshness: [{ maxMs: 'x', chunks: 1 }] }),
  JSON.stringify({ ...REPORT, freshness: {} }),
  JSON.stringify({ ...REPORT, lostRecords: 'x' }),
])('readReport returns undefined for the value %j', (text) => {
  expect(readReport(text)).toBeUndefined()
})
