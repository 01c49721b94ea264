/** Measures the pipeline again and again, and keeps the last hour in memory. */
import { readWatermarks, type TopicAdmin } from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { driftKey, readDrift, readReport, reportsKey } from '@customer-stream/schemas'
import type { ListDealers } from '../dealers.ts'
import type { PipelineDocument, PipelinePoint } from '../http/pipeline-document.ts'
import type { ReaderMetrics } from '../metrics.ts'
import type { Positions } from '../positions.ts'
import type { QuarantineTail, Tail } from '../quarantine/tail.ts'
import { createFindCompleteAsOf, isStillComplete } from './complete-as-of.ts'
import { documentOf, pointOf } from './document.ts'
import type { IngressAnswers } from './ingresses.ts'
import type { DealerCounts, Measurement, QuarantineCounts, RawEnds } from './measurement.ts'

export const MEASURE_INTERVAL_MS = 10_000
const MAX_POINTS = 360
/** Measurements of the last minute, from which rates are calculated. */
const MINUTE_MS = 60_000
/** The check of a dealer takes about 0.1 ms, and the state of a dealer changes slowly. */
const DEALERS_INTERVAL_MS = 60_000
/**
 * Maximum age of the positions that an answer relies on. Reading the positions is a large part of
 * the work of a lookup.
 */
const POSITIONS_INTERVAL_MS = 100

export interface WatchDependencies {
  readonly redis: RedisClient
  readonly positions: Pick<Positions, 'readProgress'>
  readonly listDealers: ListDealers
  readonly tail: QuarantineTail
  readonly metrics: Pick<ReaderMetrics, 'setQuarantine'>
  /** A client for the raw topic alone. */
  readonly admin: TopicAdmin
  /** Asks the ingresses for their counts. Never rejects. */
  readonly askIngresses: () => Promise<IngressAnswers>
  /** Limits the time of a question. */
  readonly ask: <T>(doing: string, question: () => Promise<T>) => Promise<T>
  /** Returns a sentence about a failed question. */
  readonly explain: (error: Error, doing: string) => string
}

export interface WatchOptions {
  readonly topic: string
  readonly keyPrefix: string
  readonly projection: number
}

export interface PipelineWatch {
  /** Measures once. Never rejects, because the document also names the questions that failed. */
  measure(): Promise<void>
  /** Undefined until the first measurement. */
  document(): PipelineDocument | undefined
  /**
   * Finds the time up to which Redis has every event, as of the last measurement. Must be called
   * before customers are read.
   * @returns a function to call after the reads. The function resolves to this time, Unix
   *   milliseconds. Undefined if the time is not known, or if Redis has lost data since.
   */
  completeAsOf(): () => Promise<number | undefined>
}

const quarantineOf = ({ records, watermarks, isCut, actionFor }: Tail): QuarantineCounts => {
  // A record may name any reason, also `__proto__`.
  const openByReason = new Map<string, number>()
  const origins = new Set<string>()
  for (const record of records) {
    const isCopy = record.origin !== undefined && origins.has(record.origin)
    if (record.origin !== undefined) origins.add(record.origin)
    if (isCopy || actionFor(record) !== undefined) continue
    openByReason.set(record.reason, (openByReason.get(record.reason) ?? 0) + 1)
  }
  const offsets = [...watermarks.values()].map(({ low, stable }) => Number(BigInt(stable) - BigInt(low)))
  return { records: offsets.reduce((a, b) => a + b, 0), openByReason: Object.fromEntries(openByReason), isCut }
}

/** Returns a function that counts the dealers, and keeps the counts for DEALERS_INTERVAL_MS. */
const createCountDealers = (listDealers: WatchDependencies['listDealers']) => {
  let dealers: { readonly clock: number; readonly counts: DealerCounts } | undefined
  return async (): Promise<DealerCounts | undefined> => {
    if (dealers && performance.now() - dealers.clock < DEALERS_INTERVAL_MS) return dealers.counts
    const page = await listDealers({ maySee: () => true, after: undefined, limit: Number.POSITIVE_INFINITY })
    if (page.kind !== 'page') return undefined
    const counts = {
      known: page.dealers.length,
      silent: page.dealers.filter(({ state }) => state === 'silent').length,
      lastEventAt: page.dealers.length > 0 ? Math.max(...page.dealers.map((each) => each.lastEventAt)) : undefined,
    }
    // The first dealers appear seconds after the start of a pipeline.
    if (counts.known > 0) dealers = { clock: performance.now(), counts }
    return counts
  }
}

/** Returns a function that reads how far Redis is filled. Many requests share one read. */
const createReadProgress = (positions: WatchDependencies['positions'], topic: string) => {
  let last: { readonly clock: number; readonly progress: ReturnType<typeof positions.readProgress> } | undefined
  return () => {
    const clock = performance.now()
    if (!last || clock - last.clock >= POSITIONS_INTERVAL_MS)
      last = { clock, progress: positions.readProgress(topic).catch(() => undefined) }
    return last.progress
  }
}

/** Returns a function that measures the pipeline once. */
const createMeasure = (deps: WatchDependencies, { topic, keyPrefix }: WatchOptions) => {
  const { redis, positions, listDealers, tail, admin, askIngresses, ask, explain } = deps
  const findCompleteAsOf = createFindCompleteAsOf()
  const countDealers = createCountDealers(listDealers)

  const readRaw = async (): Promise<RawEnds> => {
    await admin.connect()
    const described = (await admin.describeTopics([topic])).get(topic) ?? []
    const askedAt = Date.now()
    return { partitions: described.length, watermarks: await readWatermarks(admin, topic), askedAt }
  }

  const readReports = async (): Promise<Measurement['reports']> => {
    const entries = Object.entries(await redis.hgetall(reportsKey(keyPrefix)))
    return new Map(
      entries.flatMap(([instance, text]) => {
        const report = readReport(text)
        return report ? [[instance, report] as const] : []
      }),
    )
  }

  const readDrifts = async () =>
    Object.entries(await redis.hgetall(driftKey(keyPrefix))).flatMap(([field, text]) => readDrift(field, text) ?? [])

  return async (): Promise<Measurement> => {
    const problems = new Set<string>()
    /** Returns undefined if the question fails. */
    const attempt = <T>(doing: string, question: () => Promise<T>): Promise<T | undefined> =>
      question().catch((error: Error) => {
        problems.add(explain(error, doing))
        return undefined
      })
    const kafka = <T>(doing: string, question: () => Promise<T>) => attempt(doing, () => ask(doing, question))
    const ofRedis = 'read the state of the projectors'
    const [raw, found, progress, reports, drift, counts, answers] = await Promise.all([
      kafka(`read topic ${topic}`, readRaw),
      kafka('count quarantine', tail.refresh),
      attempt(ofRedis, async () => (await positions.readProgress(topic)) ?? ('none' as const)),
      attempt(ofRedis, readReports),
      attempt(ofRedis, readDrifts),
      attempt(ofRedis, countDealers),
      askIngresses(),
    ])
    return {
      completeAsOf: findCompleteAsOf({ raw, progress }),
      at: Date.now(),
      clock: performance.now(),
      problems: [...problems, ...answers.problems],
      raw,
      progress,
      reports,
      drift,
      dealers: counts,
      ingresses: answers.ingresses,
      quarantineEnds: found && { partitions: found.watermarks.size, watermarks: found.watermarks },
      quarantine: found && quarantineOf(found),
    }
  }
}

export const createPipelineWatch = (deps: WatchDependencies, options: WatchOptions): PipelineWatch => {
  const measureOnce = createMeasure(deps, options)
  const readProgress = createReadProgress(deps.positions, options.topic)
  let measurements: readonly Measurement[] = []
  let history: readonly PipelinePoint[] = []

  return {
    measure: async () => {
      const measured = await measureOnce()
      deps.metrics.setQuarantine(measured.quarantine?.openByReason)
      const before = measurements.at(-1)
      if (before) history = [...history, pointOf(before, measured)].slice(-MAX_POINTS)
      const from = measured.clock - MINUTE_MS - MEASURE_INTERVAL_MS / 2
      measurements = [...measurements.filter(({ clock }) => clock >= from), measured]
    },
    document: () =>
      measurements.length === 0 ? undefined : documentOf(measurements, history, options.projection, performance.now()),
    completeAsOf: () => {
      const asOf = measurements.at(-1)?.completeAsOf
      return async () => (asOf && isStillComplete(asOf, await readProgress()) ? asOf.at : undefined)
    },
  }
}
