import { expect, it } from 'vitest'
import { addsUp, NOTHING_SENT, readSum, sentSum, storedSum, sumText, together } from './sums.ts'

const outcomes = { applied: 16_877, stale: 2445, duplicate: 1153, quarantined: 0 }

it('a sum of the demo shows the total and its parts', () => {
  expect(sumText(readSum(20_475, outcomes), 80)).toBe(
    '✔ read 20,475 = 16,877 newest + 2,445 older, ignored + 1,153 repeats, ignored',
  )
  expect(sumText(readSum(20_475, outcomes), 60)).toBe(
    '✔ read 20,475 = 16,877 newest + 2,445 older, ignored\n              + 1,153 repeats, ignored',
  )
})

it.each([60, 80, 200])('no line of a sum is wider than %i columns', (columns) => {
  for (const line of sumText(readSum(20_475, outcomes), columns).split('\n')) expect(line.length).toBeLessThan(columns)
})

it('if the parts do not add up to the total, the text also shows the sum of the parts', () => {
  const wrong = readSum(20_476, outcomes)
  expect(addsUp(readSum(20_475, outcomes))).toBe(true)
  expect(addsUp(wrong)).toBe(false)
  expect(sumText(wrong, 100)).toMatch(/^✘ read[\s\S]*but the parts are 20,475$/)
})

it('the sum of read records includes the unusable records', () => {
  const sum = readSum(20_477, { ...outcomes, quarantined: 2 })
  expect(addsUp(sum)).toBe(true)
  expect(sumText(sum, 200)).toContain('+ 2 unusable, in quarantine')
})

it('the sum of requests has answered, torn off and failed requests', () => {
  const first = { ...NOTHING_SENT, attempts: 110, promised: 95, dropped: 10 }
  const second = {
    ...NOTHING_SENT,
    attempts: 50,
    promised: 40,
    refused: 1,
    timedOut: 2,
    failedConnections: 3,
    cutOff: 4,
  }
  expect(addsUp(sentSum(first, 100))).toBe(true)
  const all = sentSum(together(first, second), 140)
  expect(addsUp(all)).toBe(true)
  expect(sumText(all, 200)).toBe(
    '✔ sent 160 = 140 answered 202 + 10 answers torn off, sent again + 10 failed, sent again',
  )
  expect(addsUp(sentSum(first, 99))).toBe(false)
})

it('the sum of records in Kafka adds up only if verify has read all of them', () => {
  expect(addsUp(storedSum(30, { customers: 20, other: 10 }))).toBe(true)
  expect(addsUp(storedSum(31, { customers: 20, other: 10 }))).toBe(false)
})
