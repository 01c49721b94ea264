import { readFileSync } from 'node:fs'
import { readMetrics } from '@customer-stream/runtime'
import { expect, it } from 'vitest'
import { ALERT_COUNTERS, counterNotices, refusedSender, secretNotices, wrongService } from './service-counters.ts'

const projector = { kind: 'projector', url: 'http://p' } as const

it('status names each counter above 0 that fires an alert', () => {
  const metrics =
    'projector_unusable_erasures_total 2\nprojector_lost_records_total 0\ningress_refused_records_total 1\n'
  expect(counterNotices(projector, readMetrics(metrics, 0))).toEqual([
    'projector http://p: 2 unusable records of the erasures topic since its start. See the alert ErasuresUnusable in ' +
      'docs/runbook.md.',
  ])
})

it('status reports an address that belongs to another service, and secret files with wrong content', () => {
  const of = (service: string) =>
    readMetrics(
      `process_start_time_seconds{service="${service}"} 9\ncustomer_stream_secret_files_unusable{service="s"} 1\n`,
      0,
    )
  expect(wrongService(projector, of('projector'))).toEqual([])
  expect(wrongService(projector, of('ingress'))).toEqual([
    '--projector http://p is the admin port of the ingress. Give the address of the projector.',
  ])
  expect(secretNotices(projector, of('projector'))).toEqual([expect.stringMatching(/^projector http:.+SecretFiles/)])
  expect(secretNotices(projector, readMetrics('', 0))).toEqual([])
})

it('a refused sender that gets no 202 is a problem, until its last refusal is ten minutes old', () => {
  const now = 1_000_000_000
  const ingress = (acceptedAgo: number | undefined, refusedAgo: number | undefined) => {
    const at = (ago: number | undefined) => (ago === undefined ? 0 : now / 1000 - ago)
    return readMetrics(
      `ingress_last_event_timestamp_seconds{service="ingress"} ${at(acceptedAgo)}\n` +
        `ingress_last_refusal_timestamp_seconds{service="ingress"} ${at(refusedAgo)}\n`,
      0,
    )
  }
  const isRefused = (...ingresses: Parameters<typeof refusedSender>[0]) => refusedSender(ingresses, now).length > 0
  expect(isRefused(ingress(90, 5))).toBe(true)
  expect(isRefused(ingress(30, 5))).toBe(false)
  expect(isRefused(ingress(5, 90))).toBe(false)
  expect(isRefused(ingress(5000, 601))).toBe(false)
  expect(isRefused(ingress(5, undefined))).toBe(false)
  expect(isRefused()).toBe(false)
  // Another ingress accepts the events.
  expect(isRefused(ingress(undefined, 5), ingress(6, undefined))).toBe(false)
  expect(refusedSender([ingress(undefined, 5)], now)).toEqual([
    'the ingress has accepted no event since its start, and has refused a request with a signature or a token ' +
      '5 s ago. See the alert SenderRefused in docs/runbook.md.',
  ])
})

it('status reads the counter of each critical alert that a single event can fire', () => {
  const rules = readFileSync(new URL('../../../deploy/prometheus/customer-stream.rules.yml', import.meta.url), 'utf8')
  const blocks = rules.split(/^ +- alert: /m).slice(1)
  const single = blocks.filter((block) => /unless \w+_total/.test(block) && block.includes('severity: critical'))
  expect(single.length).toBeGreaterThan(5)
  for (const block of single) {
    const alert = block.split('\n', 1)[0] ?? ''
    const { metric, labels = {} } = ALERT_COUNTERS[alert] ?? {}
    expect([alert, metric]).toEqual([alert, expect.any(String)])
    const selector = Object.entries(labels).map(([name, value]) => `${name}="${value}"`)
    expect(block).toContain(`unless ${metric}${selector.length > 0 ? `{${selector.join()}}` : ''} offset`)
  }
})
