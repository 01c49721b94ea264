import { expect, it } from 'vitest'
import { statusLines } from './print-status.ts'
import type { Observation, Sample } from './read-status.ts'
import { type Findings, reportOf } from './status-report.ts'

const now = Date.UTC(2026, 10, 27, 12)
const TOPIC = 'mykaarma.customers.raw'

interface Made {
  readonly position?: bigint | undefined
  readonly stable?: string
  readonly high?: string
  readonly low?: string
  readonly fill?: { next: bigint; end: bigint }
  readonly published?: bigint
}

const sample = (at: number, made: readonly Made[]): Sample => ({
  at,
  partitions: made.map(({ low = '0', stable = '100', high = stable }, partition) => ({ partition, low, stable, high })),
  progress: made.map((one, partition) => ({
    partition,
    position: 'position' in one ? one.position : 100n,
    fill: one.fill,
    erasuresOffset: undefined,
    publishedOffset: one.published ?? ('position' in one ? one.position : 100n),
    windowEnd: undefined,
    completeBefore: undefined,
  })),
})
const observed = (before: readonly Made[], after: readonly Made[], ms = 4000): Observation => ({
  first: sample(0, before),
  last: sample(ms, after),
})

/** Returns the facts of a healthy pipeline, with the given changes. */
const findings = (changes: Partial<Findings> = {}): Findings => {
  const topic = (name: string) => ({ topic: name, partitions: sample(0, [{}, {}]).partitions, leaderless: [] })
  return {
    now,
    noPositions: 'Redis has no positions',
    services: [],
    rates: undefined,
    kafka: { value: true },
    redis: { value: true },
    raw: { value: { ...topic(TOPIC), lastEventAt: now - 12_000 } },
    observation: { value: observed([{}, {}], [{}, {}], 0) },
    oldestWaiting: { value: undefined },
    state: { value: topic('mykaarma.customers.state') },
    erasures: { value: { ...topic('mykaarma.customers.erasures'), waiting: 0, oldestAt: undefined } },
    quarantine: {
      value: { ...topic('mykaarma.quarantine'), recent: {}, counted: {}, open: 0, isCut: false, since: 0 },
    },
    ...changes,
  }
}
const ready = (kind: 'ingress' | 'projector' | 'reader', url: string, ...details: string[]) =>
  ({ kind, url, state: 'ready', problems: [], details }) as const
const linesOf = (changes: Partial<Findings>) => statusLines(reportOf(findings(changes)), () => false)

it('the first line of a healthy status is "All is well."', () => {
  const services = [ready('ingress', 'http://i:9464'), ready('projector', 'http://p:9464')]
  const lines = linesOf({ services })
  expect(lines.slice(0, 6)).toEqual([
    'All is well.',
    '',
    'services     ingress http://i:9464: ready',
    '             projector http://p:9464: ready',
    'last event   12 s ago, 2026-11-27 11:59:48 UTC',
    'lag          0 records: all 2 partitions are applied',
  ])
  expect(reportOf(findings({ services })).healthy).toBe(true)
})

it('status says which service was not asked, and shows the details of a ready service', () => {
  const services = [ready('ingress', 'http://i', '3 records wait'), ready('reader', 'http://r')]
  expect(reportOf(findings({ services })).notices).toEqual([
    'no projector was asked, so it may hang unnoticed. Give --projector.',
    'ingress http://i: 3 records wait',
  ])
})

it('status says if Redis has a higher projection than the examined projection', () => {
  const services = [ready('ingress', 'http://i'), ready('projector', 'http://p')]
  const noticesOf = (higher: number[]) =>
    reportOf(findings({ services, otherProjections: { examined: 1, higher } })).notices
  expect(noticesOf([])).toEqual([])
  expect(noticesOf([2])).toEqual([expect.stringMatching(/^this report is about projection 1 .+ has projection 2\. /)])
})

it('status reports a service that is ready but blocked, and an address that belongs to another service', () => {
  const services = [ready('ingress', 'http://i', 'the folder was deleted'), ready('projector', 'http://p')]
  const blocked = [{ url: 'http://i', reason: 'spool' }]
  const wrongServices = ['--reader http://x is the admin port of the ingress. Give the address of the reader.']
  expect(reportOf(findings({ services, blocked, wrongServices }))).toMatchObject({
    healthy: false,
    reasons: [...wrongServices, 'ingress http://i is blocked (spool): the folder was deleted'],
    notices: [],
  })
})

it('a status that asked no service does not say that all is well', () => {
  expect(linesOf({}).slice(0, 3)).toEqual([
    'Kafka and Redis are well, with 1 notice.',
    '  ! no service was asked, so a service may hang unnoticed. Give --ingress and --projector.',
    '',
  ])
})

it('a partition that is behind is not a problem while its position moves', () => {
  const observation = { value: observed([{ position: 0n }, {}], [{ position: 40n }, {}], 4000) }
  const report = reportOf(findings({ observation, oldestWaiting: { value: now - 5000 } }))
  expect(report).toMatchObject({
    healthy: true,
    lag: {
      records: 60,
      recordsPerSecond: 10,
      secondsLeft: 6,
      partitions: [{ moved: true, behind: 60 }, { behind: 0 }],
    },
  })
  expect(linesOf({ observation, oldestWaiting: { value: now - 5000 } })).toContain(
    'lag          60 records in 1 of 2 partitions, the oldest for 5 s, 10 applied/s, about 6 s left',
  )
})

it('a partition without progress is a problem after 4 s, or after 9 s with a large lag', () => {
  const isStill = (stable: string, ms: number) => {
    const one = [{ position: 1n, stable, published: 1n }]
    const observation = { value: observed(one, one, ms) }
    return reportOf(findings({ observation })).reasons.some((reason) => reason.includes('no position has moved'))
  }
  expect([isStill('100', 3000), isStill('100', 4000), isStill('9000', 8000), isStill('9000', 9000)]).toEqual([
    false,
    true,
    false,
    true,
  ])
})

it.each<[string, Partial<Findings>, string]>([
  ['Kafka that does not answer', { kafka: { problem: 'Kafka is down' }, raw: undefined }, 'Kafka is down'],
  [
    'a service that is not ready',
    { services: [{ kind: 'ingress', url: 'u', state: 'not-ready', problems: ['kafka: x', 'spool'], details: [] }] },
    'ingress u is not ready: kafka: x; spool',
  ],
  [
    'a Redis without positions',
    { observation: { value: { first: sample(0, []), last: { ...sample(0, []), progress: undefined } } } },
    'Redis has no positions',
  ],
  [
    'a partition without a position',
    { observation: { value: observed([{ position: undefined }], [{ position: undefined }]) } },
    'partition 0 of the raw topic: Redis has no position',
  ],
  [
    'records that Kafka deleted before they were applied',
    { observation: { value: observed([{ position: 5n, low: '9' }], [{ position: 5n, low: '9' }], 0) } },
    'Kafka has deleted records before they were applied',
  ],
  [
    'a position after the end of the partition',
    { observation: { value: observed([{ position: 500n }], [{ position: 500n }], 0) } },
    'the position in Redis is greater than the end',
  ],
  [
    'an open transaction',
    { observation: { value: observed([{ high: '105' }], [{ high: '105' }], 2000) } },
    'an open transaction of another producer holds records back',
  ],
  [
    'a fill',
    {
      observation: {
        value: observed([{ fill: { next: 0n, end: 100n } }], [{ fill: { next: 40n, end: 100n } }], 4000),
      },
    },
    'Redis is being filled from the state topic, so customers may be missing, about 6 s left.',
  ],
  [
    'an event that has waited for more than a minute',
    { oldestWaiting: { value: now - 90_000 } },
    'the oldest event that is not in Redis was received 1 min 30 s ago',
  ],
  [
    'a state topic that lacks documents',
    { observation: { value: observed([{ position: 100n, published: 40n }], [{ position: 100n, published: 40n }], 0) } },
    'the state topic lacks documents of 60 applied events',
  ],
  ['a refused sender', { refusedSender: ['the ingress has accepted no event'] }, 'the ingress has accepted no event'],
  [
    'an erasure that has waited for more than a minute',
    { erasures: { value: { topic: 'e', partitions: [], leaderless: [], waiting: 1, oldestAt: now - 61_000 } } },
    '1 erasure still not executed after 1 min 1 s',
  ],
  [
    'another number of partitions',
    { state: { value: { topic: 's', partitions: [], leaderless: [] } } },
    's has 0 partitions, and the raw topic has 2',
  ],
  [
    'a partition without a leader',
    { quarantine: { value: { ...quarantineOf({}), leaderless: [3] } } },
    'partition 3 of q: no leader answers',
  ],
])('status reports a problem for %s', (_, changes, reason) => {
  const report = reportOf(findings(changes))
  expect(report.healthy).toBe(false)
  expect(report.reasons.join('\n')).toContain(reason)
  expect(statusLines(report, () => false)[0]).toMatch(/^Not well: \d+ reasons?\.$/)
})

function quarantineOf(recent: Readonly<Record<string, number>>) {
  const open = Object.values(recent).reduce((all, one) => all + one, 0)
  return { topic: 'q', partitions: [], leaderless: [], recent, counted: { ...recent }, open, isCut: false, since: 0 }
}

it('records in quarantine and a silent sender are notices, not problems', () => {
  const report = reportOf(
    findings({
      raw: { value: { topic: TOPIC, partitions: sample(0, [{}, {}]).partitions, leaderless: [], lastEventAt: 1 } },
      quarantine: { value: quarantineOf({ 'not-json': 2 }) },
    }),
  )
  expect(report.healthy).toBe(true)
  expect(report.notices).toEqual([
    expect.stringMatching(/^no service was asked/),
    '2 open records went to quarantine in the last 24 h. See customer-stream quarantine list.',
    expect.stringMatching(/^no event was received for \d+ d/),
  ])
})

it('the notice about quarantine says "at least" if only the newest records were counted', () => {
  const quarantine = { value: { ...quarantineOf({ 'not-json': 2 }), isCut: true } }
  expect(reportOf(findings({ quarantine })).notices).toContain(
    'at least 2 open records went to quarantine in the last 24 h. See customer-stream quarantine list.',
  )
})

it('counters that fire an alert are notices', () => {
  const counters = ['ingress http://i: 1 suspicious event since its start.']
  const services = [ready('ingress', 'http://i'), ready('projector', 'http://p')]
  expect(reportOf(findings({ counters, services }))).toMatchObject({ healthy: true, notices: counters })
  expect(linesOf({ counters, services }).slice(0, 2)).toEqual([
    'All is well, with 1 notice.',
    '  ! ingress http://i: 1 suspicious event since its start.',
  ])
})

it('if Kafka is down, status has all other lines, and no control characters', () => {
  const problem = 'Kafka cannot be reached at \u001b[2Jhost'
  const lines = linesOf({
    kafka: { problem },
    raw: undefined,
    observation: undefined,
    state: undefined,
    erasures: undefined,
    quarantine: undefined,
    services: [ready('projector', 'http://p')],
  })
  expect(lines).toEqual([
    'Not well: 1 reason.',
    '  ✘ Kafka cannot be reached at \\u{1b}[2Jhost',
    '  ! no ingress was asked, so it may hang unnoticed. Give --ingress.',
    '',
    'services     projector http://p: ready',
    'last event   unknown',
    'lag          unknown',
    'state topic  unknown',
    'erasures     unknown',
    'quarantine   unknown',
  ])
})

it('a problem of several lines is printed on several lines', () => {
  const problems = ['Topics are not as they must be:\n  - t has 1 partitions\u001b']
  const lines = linesOf({ services: [{ kind: 'ingress', url: 'u', state: 'not-ready', problems, details: [] }] })
  expect(lines.slice(1, 3)).toEqual([
    '  ✘ ingress u is not ready: Topics are not as they must be:',
    '      - t has 1 partitions\\u{1b}',
  ])
})

it('status does not say that erasures are executed if their positions are unknown', () => {
  const topic = { topic: 'e', partitions: sample(0, [{}, {}]).partitions, leaderless: [] }
  const lines = linesOf({ erasures: { value: { ...topic, waiting: null, oldestAt: undefined } } })
  expect(lines).toContain('erasures     200 records in e, unknown whether executed')
})

it('status counts all records of a partition without a position as lag', () => {
  const made = [{ position: undefined, low: '40' }, {}]
  const { lag } = reportOf(findings({ observation: { value: observed(made, made) } }))
  expect(lag).toMatchObject({ records: 60, partitions: [{ position: null, behind: 60 }, { behind: 0 }] })
})

it('status does not say that an empty partition without a position is applied', () => {
  const made = [{ position: undefined, low: '7', stable: '7' }, {}]
  const lines = linesOf({ observation: { value: observed(made, made) } })
  expect(lines).toContain('lag          0 records: 1 of 2 partitions applied, 1 without a position')
})

it('handled records of quarantine are counted separately, and need no notice', () => {
  const quarantine = { value: { ...quarantineOf({ a: 3 }), open: 0, handled: 3 } }
  const services = [ready('ingress', 'http://i'), ready('projector', 'http://p')]
  expect(reportOf(findings({ quarantine, services })).notices).toEqual([])
  expect(linesOf({ quarantine }).slice(-3)).toEqual([
    'quarantine   24 h: a 3',
    '             redriven or dropped: 3',
    '             total: 0',
  ])
})

it('the count of quarantine records says if only the newest records were counted', () => {
  const counts = { ...quarantineOf({ a: 1 }), counted: { a: 1, b: 3 }, isCut: true }
  expect(linesOf({ quarantine: { value: counts } }).slice(-2)).toEqual([
    'quarantine   24 h: a 1',
    '             total: 0; of the newest: b 3, a 1',
  ])
})
