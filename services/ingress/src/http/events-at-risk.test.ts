import { expect, it } from 'vitest'
import { createEventsAtRisk } from './events-at-risk.ts'

const body = (text: string) => Buffer.from(text)

it('an event is at risk from its refusal until its repeat is accepted', () => {
  const events = createEventsAtRisk()
  events.accepted(body('never refused'))
  events.refused(body('a'))
  events.refused(body('a'))
  events.refused(body('b'))
  expect(events.size).toBe(2)
  events.accepted(body('a'))
  expect(events.size).toBe(1)
  events.accepted(body('b'))
  expect(events.size).toBe(0)
})

it('at the limit, the event with the oldest refusal is forgotten', () => {
  const events = createEventsAtRisk({ limit: 2 })
  for (const text of ['a', 'b', 'a', 'c']) events.refused(body(text))
  expect(events.size).toBe(2)
  events.accepted(body('b'))
  expect(events.size).toBe(2)
  events.accepted(body('a'))
  expect(events.size).toBe(1)
})

it('an event is forgotten when the sender no longer repeats it', () => {
  let time = 0
  const events = createEventsAtRisk({ forgetAfterMs: 1000, now: () => time })
  events.refused(body('a'))
  time = 600
  events.refused(body('b'))
  time = 1200
  expect(events.size).toBe(1)
  time = 1600
  expect(events.size).toBe(0)
})
