import { readQuarantined } from '@customer-stream/quarantine'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createReport, type Outcome, outcomeLines, printOutcome } from './outcome.ts'

const dry: Outcome = {
  action: 'redriven',
  executed: false,
  done: 0,
  accepted: 3,
  doneBefore: 0,
  refusedByReason: {},
  unreadable: 0,
  interrupted: false,
}
/** Returns the JSON objects that the work prints. */
const printed = (work: () => void): unknown[] => {
  const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
  onTestFinished(() => write.mockRestore())
  work()
  return write.mock.calls.map(([text]) => JSON.parse(String(text)))
}

it('the JSON of a dry run does not say that a record was redriven', () => {
  const record = readQuarantined({ offset: '7', timestamp: '1', key: null, value: null }, 2)
  const lines = printed(() => {
    createReport('redriven', true, () => {}).accepted(record, undefined)
    printOutcome(dry, true)
  })
  expect(lines).toEqual([
    { place: '2/7', reason: '', would: 'redrive' },
    { summary: expect.objectContaining({ executed: false, done: 0, accepted: 3 }) },
  ])
})

it('a dry run counts the records that would be redriven', () => {
  expect(outcomeLines(dry)[0]).toBe('3 records would be redriven')
  expect(outcomeLines({ ...dry, executed: true, done: 2 })[0]).toBe('2 records redriven')
})
