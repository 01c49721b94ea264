import { readState } from '@customer-stream/schemas'
import { expect, it } from 'vitest'
import { documentLines } from './subscriber.ts'

const read = readState(
  Buffer.from(
    '{"customerUuid":"c","version":{"timestamp":5,"id":"e"},' +
      '"customer":{"customerUuid":"c","id":12345678901234567890},' +
      '"receivedAt":7,"source":{"topic":"t","partition":0,"offset":"1"}}',
  ),
)
if (!read.ok) throw new Error(read.reason)
const state = read.value

it('the demo shows a document as JSON, with all digits of its numbers', () => {
  const lines = documentLines(state, 200)
  expect(lines.join('').replaceAll(' ', '')).toContain('{"customerUuid":"c","id":12345678901234567890}')
  expect(JSON.parse(lines.join('\n'))).toMatchObject({ version: { timestamp: 5, id: 'e' } })
})

it.each([12, 40, 100])('no line of a document is wider than a terminal of %i columns', (columns) => {
  const lines = documentLines(state, columns)
  expect(lines.length).toBeGreaterThan(1)
  expect(lines.every((line) => line.length < columns)).toBe(true)
})
