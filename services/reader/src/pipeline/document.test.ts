import type { ProjectorReport } from '@customer-stream/schemas'
import { Value } from '@sinclair/typebox/value'
import { describe, expect, it } from 'vitest'
import { PipelineDocument } from '../http/pipeline-document.ts'
import { documentOf, pointOf } from './document.ts'
import { MEASUREMENT } from './fixtures/measurement.ts'
import type { Measurement } from './measurement.ts'

/** Returns a measurement that was made some seconds after MEASUREMENT. */
const after = (seconds: number, changes: Partial<Measurement> = {}): Measurement => ({
  ...MEASUREMENT,
  at: MEASUREMENT.at + seconds * 1000,
  clock: seconds * 1000,
  reports: reported(seconds),
  ...changes,
})
const reported = (at: number, applied = 5, chunks: readonly (readonly [number | null, number])[] = []) =>
  new Map([
    [
      'p',
      {
        at,
        outcomes: { applied, stale: 1 },
        freshness: chunks.map(([maxMs, count]) => ({ maxMs, chunks: count })),
      },
    ],
  ])
const ends = (...offsets: readonly (string | undefined)[]): NonNullable<Measurement['raw']> => ({
  partitions: offsets.length,
  askedAt: 1728542293990,
  watermarks: new Map(
    offsets.flatMap((high, i) => (high === undefined ? [] : [[i, { low: '0', stable: high, high }] as const])),
  ),
})
const positions = (...offsets: readonly bigint[]): Measurement['progress'] => ({
  ...(MEASUREMENT.progress as Exclude<Measurement['progress'], 'none' | undefined>),
  positions: new Map(offsets.entries()),
})
const UNKNOWN: Partial<Measurement> = {
  raw: undefined,
  quarantineEnds: undefined,
  quarantine: undefined,
  progress: undefined,
  completeAsOf: undefined,
  reports: undefined,
  drift: undefined,
  dealers: undefined,
  ingresses: undefined,
}

it('a rate is the difference between two measurements, divided by the time between them', () => {
  const later = after(10, { raw: ends('30', '40'), reports: reported(10, 25), quarantineEnds: ends('8') })
  expect(pointOf(MEASUREMENT, later)).toEqual({
    at: later.at,
    receivedPerSecond: 0,
    refusedPerSecond: 0,
    storedPerSecond: 4,
    handledPerSecond: 2,
    quarantinedPerSecond: 0.5,
    lag: 40,
    freshnessP50Ms: null,
    freshnessP99Ms: null,
  })
  expect(documentOf([MEASUREMENT, later], [], 1).outcomes).toEqual({ applied: 2, stale: 0 })
})

it.each([
  [5, 10, 50, 10],
  [15, 10, 150, 10],
  // The projector has stopped, so its reports end after 10 s. The rate is for the whole minute.
  [10, 60, 100, 100 / 60],
])('the rate is right for reports %i s apart in measurements %i s apart', (own, seconds, events, rate) => {
  const first = { ...MEASUREMENT, reports: reported(1000, 5) }
  const last = after(seconds, { reports: reported(1000 + own * 1000, 5 + events) })
  expect(pointOf(first, last).handledPerSecond).toBeCloseTo(rate, 5)
})

it.each([
  ['the ends of the topic are not known', { raw: undefined }],
  ['a partition has no leader', { raw: ends('30', undefined) }],
  ['the topic was created again', { raw: ends('3', '40') }],
])('the stored rate is null if %s', (_, changes) => {
  expect(pointOf(MEASUREMENT, after(10, changes)).storedPerSecond).toBeNull()
})

it('a projector that has just started, or an older version that stores no report, makes no rate wrong', () => {
  const started = new Map([...reported(10), ...new Map([['new', reported(10, 9999).get('p')!]])])
  expect(pointOf(MEASUREMENT, after(10, { reports: started })).handledPerSecond).toBe(0)
  const none = { reports: new Map() }
  expect(pointOf({ ...MEASUREMENT, ...none }, after(10, none)).handledPerSecond).toBeNull()
})

describe('requests of the sender', () => {
  const counts = (accepted: number, refused: number, eventsAtRisk = 0) => ({ accepted, refused, eventsAtRisk })
  const asked = (seconds: number, ingresses: Readonly<Record<string, ReturnType<typeof counts>>> | undefined) =>
    after(seconds, { ingresses: ingresses && new Map(Object.entries(ingresses)) })

  it('the requests of all ingresses are added up', () => {
    const before = asked(0, { a: counts(100, 10), b: counts(5, 0) })
    const document = documentOf([before, asked(10, { a: counts(120, 20, 2), b: counts(15, 0, 1) })], [], 1)
    expect(document.rates.receivedPerSecond).toBe(4)
    expect(document.sender).toEqual({ refusedPerSecond: 1, eventsAtRisk: 3 })
    expect(document.notices).toEqual([
      'At most 3 events got 503 and were not accepted later. See the alert EventsUnavailable in docs/runbook.md.',
    ])
  })

  it('an ingress that was restarted counts from 0, and a new ingress makes no rate wrong', () => {
    const before = asked(0, { a: counts(1000, 500) })
    const point = pointOf(before, asked(10, { a: counts(20, 10), b: counts(9999, 9999) }))
    expect([point.receivedPerSecond, point.refusedPerSecond]).toEqual([3, 1])
  })

  it('figures of the sender are null if the counts of one ingress are not known', () => {
    const document = documentOf([asked(0, { a: counts(1, 1) }), asked(10, undefined)], [], 1)
    expect([document.rates.receivedPerSecond, document.sender]).toEqual([
      null,
      { eventsAtRisk: null, refusedPerSecond: null },
    ])
  })
})

it('the freshness is interpolated in its bucket, and covers only chunks between the measurements', () => {
  const before = {
    ...MEASUREMENT,
    reports: reported(1, 5, [
      [10, 1000],
      [20, 0],
      [null, 0],
    ]),
  }
  const later = after(10, {
    reports: reported(10, 5, [
      [10, 1000],
      [20, 99],
      [null, 1],
    ]),
  })
  const { freshness } = documentOf([before, later], [], 1)
  expect(freshness.p50Ms).toBeCloseTo(10 + 10 * (50 / 99), 5)
  expect(freshness.p99Ms).toBeCloseTo(20, 5)
})

it('each unknown value of the pipeline document is null', () => {
  const unknown = { ...MEASUREMENT, ...UNKNOWN, problems: ['Kafka does not answer.'] }
  const document = documentOf([unknown, after(10, unknown)], [], 1)
  expect(document).toMatchObject({
    isWell: false,
    summary: 'There is a problem.',
    reasons: ['Kafka does not answer.'],
    rates: { receivedPerSecond: null, storedPerSecond: null, handledPerSecond: null },
    lag: { records: null, partitions: [] },
    outcomes: null,
    quarantine: null,
    dealers: null,
    drift: null,
    completeAsOf: null,
    lastEventAt: null,
    sender: { eventsAtRisk: null, refusedPerSecond: null },
    freshness: { p50Ms: null, p99Ms: null },
    projection: { isFilled: null, fill: null, indexes: null, projectors: null },
  })
})

it('the document of any measurement fits its schema', () => {
  for (const measurements of [[MEASUREMENT], [MEASUREMENT, after(10)], [{ ...MEASUREMENT, ...UNKNOWN }]]) {
    const document = documentOf(measurements, [pointOf(MEASUREMENT, after(10))], 1)
    expect([...Value.Errors(PipelineDocument, JSON.parse(JSON.stringify(document)))]).toEqual([])
  }
})

it('the sum of the lag is not known if one partition has no leader', () => {
  const document = documentOf([{ ...MEASUREMENT, raw: ends('12', undefined), progress: positions(10n, 20n) }], [], 1)
  expect(document.lag).toEqual({
    records: null,
    partitions: [
      { partition: 0, position: '10', end: '12', records: 2 },
      { partition: 1, position: '20', end: null, records: null },
    ],
  })
})

describe('whether all is well', () => {
  const healthOf = (...measurements: readonly Measurement[]) => {
    const { isWell, summary, reasons } = documentOf(measurements, [], 1)
    return { isWell, summary, reasons: reasons.join('\n') }
  }

  it('a pipeline without lag, with open records in quarantine, is well and has a notice', () => {
    const open = { quarantine: { records: 3, openByReason: { 'not-json': 2 }, isCut: true } }
    const document = documentOf([MEASUREMENT, after(40, open)], [], 1)
    expect(document).toMatchObject({ isWell: true, summary: 'All is well, with 1 notice.', reasons: [] })
    expect(document.notices).toEqual(['At least 2 open records in quarantine. Look at their reasons.'])
    expect(document.quarantine).toEqual({ records: 3, open: 2, openByReason: { 'not-json': 2 }, isCut: true })
  })

  it('a pipeline without notices is well', () => {
    expect(healthOf(MEASUREMENT, after(10))).toEqual({ isWell: true, summary: 'All is well.', reasons: '' })
  })

  it('records that Kafka deleted before they were applied are a notice, with the sum of all projectors', () => {
    const report = { at: 1, outcomes: {}, freshness: [] }
    const reports = new Map<string, ProjectorReport>([
      ['p', { ...report, lostRecords: 1200 }],
      ['q', { ...report, lostRecords: 1 }],
      ['older', report],
    ])
    expect(documentOf([MEASUREMENT, after(10, { reports })], [], 1)).toMatchObject({
      summary: 'All is well, with 1 notice.',
      notices: [
        'Kafka deleted 1,201 records before a projector applied them. See the alert RecordsLost in docs/runbook.md.',
      ],
    })
  })

  const lagging = { raw: ends('12', '20'), progress: positions(10n, 20n) }
  it.each([
    ['a partition stands still', after(0, lagging), after(35, lagging), 'Partition 0 of the raw topic: records wait'],
    ['no projector reports', MEASUREMENT, after(35, { reports: MEASUREMENT.reports }), 'No projector has reported'],
    ['Redis has no positions', MEASUREMENT, after(10, { progress: 'none' }), 'Redis has no positions'],
    ['a partition has no leader', MEASUREMENT, after(10, { raw: ends('10', undefined) }), 'Partition 1 of the raw'],
    [
      'Redis is being filled',
      MEASUREMENT,
      after(10, { progress: { ...(positions(10n, 20n) as object), fill: { partitions: 1, records: 7 } } as never }),
      '7 records left',
    ],
    [
      'only some partitions have positions',
      MEASUREMENT,
      after(10, { progress: { ...(positions(10n, 20n) as object), isFilled: false } as never }),
      'Redis lacks the positions of some partitions',
    ],
    [
      'events are late',
      after(0, { reports: reported(0, 5, [[60_000, 0]]) }),
      after(10, { reports: reported(10, 9, [[60_000, 10]]) }),
      'later than',
    ],
  ] as const)('the pipeline is not well if %s', (_, first, last, reason) => {
    expect(healthOf(first, last)).toMatchObject({ isWell: false, reasons: expect.stringContaining(reason) })
  })

  it.each([
    ['a position moves', after(0, lagging), after(35, { ...lagging, progress: positions(11n, 20n) })],
    ['the records have waited for only 20 s', after(0, lagging), after(20, lagging)],
    ['the records are new', after(0, { progress: positions(10n, 20n) }), after(35, lagging)],
  ])('a lag is not a problem if %s', (_, first, last) => {
    expect(healthOf(first, last)).toMatchObject({ isWell: true, reasons: '' })
  })
})

it('the rates of a minute leave out the time before the topic and the projectors were known', () => {
  const empty = { ...MEASUREMENT, raw: undefined, reports: new Map() }
  const started = { raw: ends('10', '20'), reports: reported(20, 5) }
  const document = documentOf([empty, after(20, started), after(30, { ...started, reports: reported(30, 25) })], [], 1)
  expect(document.rates).toEqual({ receivedPerSecond: 0, storedPerSecond: 0, handledPerSecond: 2 })
  expect([document.projection.projectors, document.isWell]).toEqual([1, true])
})

it('a projector that has just started is not reported as silent', () => {
  const document = documentOf([{ ...MEASUREMENT, reports: new Map() }, after(35, { reports: reported(33) })], [], 1)
  expect(document.reasons).toEqual([])
})
