import { expect, it } from 'vitest'
import { type ProjectorReport, readReport } from './projector-report.ts'

const REPORT: ProjectorReport = {
  at: 1728542294120,
  outcomes: { applied: 5, stale: 0 },
  freshness: [
    { maxMs: 5, chunks: 2 },
    { maxMs: null, chunks: 1 },
  ],
}

it('a report is read as it was written', () => {
  expect(readReport(JSON.stringify(REPORT))).toEqual(REPORT)
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
])('the value %j is not a report', (text) => {
  expect(readReport(text)).toBeUndefined()
})
