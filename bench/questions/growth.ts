import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline } from '@customer-stream/testing'
import { catchUp } from '../loads/catch-up.ts'
import { type FillOptions, fillTopic } from '../loads/fill-topic.ts'
import { openIngressUnderLoad } from '../loads/ingress-under-load.ts'
import { type Figure, figureOf } from '../report/measure.ts'
import type { Bench, Curve, Line, Question } from './question.ts'

/**
 * Maximum ratio of two costs that count as equal. On a shared machine, noise stays below this
 * ratio.
 */
const TOLERANCE = 1.3
const REPETITIONS = 2
/** Number of events in a run. Such a long run needs no repetitions. */
const LONG_RUN_EVENTS = 500_000
const CPU = 'CPU µs per event'

const readProjector = async (bench: Bench, fill: FillOptions): Promise<Figure> => {
  const pipeline = await openPipeline(bench.brokers)
  try {
    await fillTopic(bench, pipeline, fill)
    const read: number[] = []
    for (let i = 0; i < (fill.events >= LONG_RUN_EVENTS ? 1 : REPETITIONS); i++)
      read.push((await catchUp(pipeline))[CPU])
    return figureOf(read)
  } finally {
    await pipeline.close()
  }
}

const readIngress = async (bench: Bench, options: { partitions?: number; padBytes?: number }): Promise<Figure> => {
  const { partitions = 12, padBytes = 0 } = options
  const customer = padBytes > 0 ? { comments: 'x'.repeat(padBytes) } : {}
  const bodies = Array.from({ length: padBytes > 50_000 ? 200 : 2000 }, () => makeCustomersEvent({ customer }).body)
  const under = await openIngressUnderLoad(bench, { env: { KAFKA_PARTITIONS: String(partitions) }, bodies })
  try {
    const read = async () => (await under.read(under.ingress, 64, 3))[CPU]
    await read()
    const figures: number[] = []
    for (let i = 0; i < REPETITIONS; i++) figures.push(await read())
    return figureOf(figures)
  } finally {
    await under.close()
  }
}

type Points = { readonly x: number; readonly y: Figure }[]

const along = async (values: readonly number[], read: (value: number) => Promise<Figure>): Promise<Points> => {
  const points: Points = []
  for (const x of values) points.push({ x, y: await read(x) })
  return points
}

export const growth: Question = {
  name: 'growth',
  title: 'What grows as the work grows',
  needsWrk: true,
  ask: async (bench) => {
    const events = Math.round(100_000 * bench.scale)
    const customers = [10_000, 100_000, 1_000_000].map((count) => Math.round(count * bench.scale))
    const projector = {
      customers: await along(customers, (count) =>
        readProjector(bench, { events: Math.max(events, count), customers: count, partitions: 12 }),
      ),
      partitions: await along([3, 12, 48], (partitions) =>
        readProjector(bench, { events, customers: events, partitions }),
      ),
      fields: await along([20, 200], (fields) =>
        readProjector(bench, { events: events / 2, customers: events / 2, partitions: 12, extraFields: fields - 20 }),
      ),
    }
    const ingress = {
      partitions: await along([3, 12, 48], (partitions) => readIngress(bench, { partitions })),
      bytes: await along([1000, 10_000, 100_000], (bytes) =>
        readIngress(bench, { padBytes: Math.max(0, bytes - 1000) }),
      ),
    }
    const line = (what: string, points: Points, perUnit = false): Line => {
      const [first, last] = [points[0], points.at(-1)]
      const grown = (last?.y.median ?? Number.NaN) / (first?.y.median ?? Number.NaN)
      const bound = perUnit ? (last?.x ?? 0) / (first?.x ?? 1) : TOLERANCE
      return {
        what,
        target: perUnit ? `no faster than the fields (${bound} ×)` : `does not grow (within ${TOLERANCE} ×)`,
        figure:
          `${grown.toFixed(2)} × from ${first?.x} to ${last?.x} ` +
          `(${points.map(({ y }) => `${y.median.toFixed(0)} µs`).join(', ')})`,
        met: grown <= bound,
      }
    }
    const curve = (name: string, title: string, x: string, series: Record<string, Points>): Curve => ({
      name,
      title,
      x,
      y: CPU,
      logX: true,
      series: Object.entries(series).map(([of, points]) => ({ name: of, points })),
    })
    const readings = Object.fromEntries(
      Object.entries({
        ...projector,
        'ingress partitions': ingress.partitions,
        'ingress body bytes': ingress.bytes,
      }).flatMap(([of, points]) => points.map(({ x, y }) => [`${of}: ${x}`, { [CPU]: y }])),
    )
    return {
      lines: [
        line('projector CPU per event, by customers', projector.customers),
        line('projector CPU per event, by partitions', projector.partitions),
        line('projector CPU per event, by fields of a customer', projector.fields, true),
        line('ingress CPU per event, by partitions', ingress.partitions),
      ],
      readings,
      curves: [
        curve('growth-customers', 'CPU by customers', 'customers', { projector: projector.customers }),
        curve('growth-partitions', 'CPU by partitions', 'partitions', {
          projector: projector.partitions,
          ingress: ingress.partitions,
        }),
        curve('growth-fields', 'CPU by fields of a customer', 'fields', { projector: projector.fields }),
        curve('growth-body', 'CPU by size of the body', 'bytes', { ingress: ingress.bytes }),
      ],
      notes: [
        'The ingress has 64 connections, so a flush has some thirty records. With more partitions each flush is ' +
          'cut into more and smaller batches.',
        'Ten times the fields are ten times the data. So the target is only that the cost does not grow ' +
          'faster than the data.',
      ],
    }
  },
}
