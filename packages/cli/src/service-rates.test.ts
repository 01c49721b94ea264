import { readMetrics } from '@customer-stream/runtime'
import { expect, it } from 'vitest'
import { ratesOf } from './service-rates.ts'

const samples = (kind: 'ingress' | 'projector', before: string, after: string) => ({
  kind,
  before: readMetrics(before, 0),
  after: readMetrics(after, 2000),
})

it('a rate is the increase per second of a counter, over all services', () => {
  const answers = (accepted: number, unavailable: number, other: number) =>
    Object.entries({ accepted, unavailable, 'too-large': other })
      .map(([answer, count]) => `ingress_answers_total{answer="${answer}"} ${count}`)
      .join('\n')
  const rates = ratesOf([
    samples('ingress', answers(10, 0, 1), answers(30, 2, 5)),
    samples('ingress', answers(0, 0, 0), answers(10, 0, 0)),
    samples('projector', 'projector_events_total{outcome="stale"} 4', 'projector_events_total{outcome="stale"} 5'),
  ])
  expect(rates).toEqual({
    accepted: 15,
    refused: 2,
    unavailable: 1,
    outcomes: { applied: 0, duplicate: 0, stale: 0.5, erased: 0, quarantined: 0 },
  })
})

it('a restarted process, whose counters begin at 0, makes no rate negative', () => {
  const applied = (count: number) => `projector_events_total{outcome="applied"} ${count}`
  expect(ratesOf([samples('projector', applied(100), applied(1))])).toMatchObject({
    accepted: null,
    outcomes: { applied: 0 },
  })
})

it('the rates are undefined if no service gave two samples', () => {
  expect(ratesOf([])).toBeUndefined()
})
