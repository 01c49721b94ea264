import { createRegistry } from '@customer-stream/runtime/service'
import { expect, it, onTestFinished, vi } from 'vitest'
import type { Dealer } from '../dealers.ts'
import { createReaderMetrics } from '../metrics.ts'
import type { RecordFacts, Tail } from '../quarantine/tail.ts'
import { MEASUREMENT } from './fixtures/measurement.ts'
import { createPipelineWatch, type WatchDependencies } from './watch.ts'

const noAnswer = () => Promise.reject(new Error('no answer'))

/** Creates a watch without answers, except those of `deps`. */
const createWatch = (deps: Partial<WatchDependencies>) => {
  const registry = createRegistry('reader')
  const silent: Partial<WatchDependencies> = {
    ask: noAnswer,
    explain: () => 'no answer',
    tail: { refresh: noAnswer, refreshAgain: noAnswer },
    metrics: createReaderMetrics(registry),
    positions: { readProgress: noAnswer },
    redis: { hgetall: noAnswer } as unknown as WatchDependencies['redis'],
    askIngresses: async () => ({ ingresses: undefined, problems: [] }),
    listDealers: noAnswer,
  }
  const options = { topic: 'raw', keyPrefix: '', projection: 1 }
  return { registry, watch: createPipelineWatch({ ...silent, ...deps } as WatchDependencies, options) }
}

it('the metric of quarantine has the open records by reason, and no value if the count is not known', async () => {
  const record = (reason: string, offset: string, origin?: string) => ({ reason, partition: 0, offset, origin })
  const records = [
    record('not-json', '1'),
    record('not-json', '2', 'raw/0/7'),
    record('not-json', '3', 'raw/0/7'),
    record('not-utf8', '4'),
    record('reason-of-tomorrow', '5'),
    record('toString', '6'),
  ] as RecordFacts[]
  const found: Partial<Tail> = {
    records,
    watermarks: new Map(),
    isCut: false,
    actionFor: ({ offset }) => (offset === '4' ? 'dropped' : undefined),
  }
  let answer: Promise<Tail> = noAnswer()
  answer.catch(() => undefined)
  const refresh = () => answer
  const { registry, watch } = createWatch({
    ask: async (_, question) => question(),
    tail: { refresh, refreshAgain: refresh },
    admin: { connect: noAnswer } as unknown as WatchDependencies['admin'],
  })
  const open = async () => {
    await watch.measure()
    const { values = [] } = (await registry.getSingleMetric('reader_quarantine_open_records')?.get()) ?? {}
    return Object.fromEntries(values.map(({ labels, value }) => [labels.reason, value]))
  }
  expect(await open()).toEqual({})
  answer = Promise.resolve(found as Tail)
  expect(await open()).toMatchObject({ 'not-json': 2, 'not-utf8': 0, 'refused-by-kafka': 0, other: 2 })
  expect(await open()).not.toHaveProperty('reason-of-tomorrow')
  answer = noAnswer()
  expect(await open()).toEqual({})
})

it('dealers are counted as soon as the first dealer appears, and then once a minute', async () => {
  const dealers: Partial<Dealer>[] = []
  const { watch } = createWatch({
    listDealers: async () => ({ kind: 'page', dealers: dealers as Dealer[], next: undefined }),
  })
  const known = async () => {
    await watch.measure()
    return watch.document()?.dealers?.known
  }
  expect(await known()).toBe(0)
  dealers.push({ state: 'new', lastEventAt: 1 })
  expect(await known()).toBe(1)
  dealers.push({ state: 'new', lastEventAt: 2 })
  expect(await known()).toBe(1)
})

it.each([
  ['was emptied', undefined],
  ['has lost its last events', [9n, 20n]],
  ['does not answer', 'no answer'],
] as const)(
  'after Redis %s, answers do not say that Redis is complete as of the last measurement',
  async (_, positions) => {
    vi.useFakeTimers({ toFake: ['performance'] })
    onTestFinished(() => void vi.useRealTimers())
    const progressOf = (offsets: readonly bigint[]) => ({
      ...{ isFilled: true, indexes: undefined, fill: undefined },
      ...{ positions: new Map(offsets.entries()), complete: new Map(offsets.entries()) },
    })
    let found: readonly bigint[] | 'no answer' | undefined = [10n, 20n]
    let reads = 0
    const { watch } = createWatch({
      ask: async (doing) => (doing === 'read topic raw' ? { ...MEASUREMENT.raw, askedAt: 7 } : noAnswer()) as never,
      positions: {
        readProgress: async () => {
          reads += 1
          return found === 'no answer' ? noAnswer() : found && progressOf(found)
        },
      },
    })
    await watch.measure()
    const arrived = watch.completeAsOf()
    expect([await arrived(), await watch.completeAsOf()()]).toEqual([7, 7])
    // One read for the measurement, and one read for both answers.
    expect(reads).toBe(2)
    found = positions
    vi.advanceTimersByTime(100)
    expect(await arrived()).toBeUndefined()
  },
)

it('if a measurement does not end, a problem names the age of the last state after a minute', async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const answers = [{ ingresses: undefined, problems: [] }]
  const { watch } = createWatch({
    askIngresses: () => {
      const answer = answers.pop()
      return answer ? Promise.resolve(answer) : new Promise(() => {})
    },
  })
  await watch.measure()
  void watch.measure()
  vi.advanceTimersByTime(59_000)
  expect(watch.document()?.reasons).toEqual(['No answer'])
  vi.advanceTimersByTime(1000)
  expect(watch.document()?.reasons[0]).toMatch(/^The last measurement is 60 s old/)
})

it('the pipeline document counts the records of quarantine by reason, even by an unknown reason', async () => {
  const reasons = ['__proto__', 'constructor', 'constructor', 'not-json']
  const records = reasons.map((reason, i) => ({
    ...{ partition: 0, offset: `${i}`, receivedAt: 1, reason, stage: '', source: undefined, bytes: 1 },
    origin: undefined,
  }))
  const refresh = async (): Promise<Tail> => ({
    ...{ topicId: null, hasAudit: false, watermarks: new Map(), records, isCut: false },
    actionFor: () => undefined,
    entriesOf: async () => [],
  })
  const { watch } = createWatch({ ask: (_, question) => question(), tail: { refresh, refreshAgain: refresh } })
  await watch.measure()
  const { open, openByReason } = watch.document()?.quarantine ?? {}
  expect([open, JSON.stringify(openByReason)]).toEqual([4, '{"__proto__":1,"constructor":2,"not-json":1}'])
})
