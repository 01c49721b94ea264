import { makeCustomersEvent } from '@customer-stream/simulator'
import type { ServiceProcess } from '@customer-stream/testing'
import { openIngressUnderLoad } from '../loads/ingress-under-load.ts'
import { figureOf, residentBytes } from '../report/measure.ts'
import type { Curve, Question } from './question.ts'

const EVENTS = 2_000_000
const DISTINCT_EVENTS = 40_000
const CONNECTIONS = 64
const MAX_RESIDENT_MB = 150
/**
 * MB per million events. Over two million events this is 4 MB, the least that samples can
 * distinguish from 0.
 */
const MAX_SLOPE_MB_PER_MILLION = 2

interface Sample {
  readonly millionEvents: number
  readonly residentMb: number
  readonly heapMb: number
}

/** Slope by least squares, in MB per million events. */
const slopeOf = (samples: readonly Sample[], of: (sample: Sample) => number): number => {
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length
  const x = mean(samples.map(({ millionEvents }) => millionEvents))
  const y = mean(samples.map(of))
  const covariance = samples.reduce((sum, sample) => sum + (sample.millionEvents - x) * (of(sample) - y), 0)
  return covariance / samples.reduce((sum, { millionEvents }) => sum + (millionEvents - x) ** 2, 0)
}

const curveOf = (name: string, samples: readonly Sample[]): Curve => {
  const series = (of: (sample: Sample) => number) =>
    samples.map((sample) => ({ x: sample.millionEvents, y: figureOf([of(sample)]) }))
  return {
    name: `memory-${name}`,
    title: `Memory of the ${name}`,
    x: 'million events',
    y: 'MB',
    logX: false,
    series: [
      { name: 'resident', points: series(({ residentMb }) => residentMb) },
      { name: 'heap in use', points: series(({ heapMb }) => heapMb) },
    ],
  }
}

export const memory: Question = {
  name: 'memory',
  title: 'Whether memory stays flat',
  ask: async (bench) => {
    const bodies = Array.from({ length: DISTINCT_EVENTS }, () => makeCustomersEvent().body)
    const under = await openIngressUnderLoad(bench, { bodies })
    const samples: Record<'ingress' | 'projector', Sample[]> = { ingress: [], projector: [] }
    try {
      const projector = await under.pipeline.start('projector')
      await projector.untilReady()
      const events = EVENTS * bench.scale
      let sent = 0
      const sample = async (name: 'ingress' | 'projector', service: ServiceProcess) => {
        const heapMb = (await service.metric('nodejs_heap_size_used_bytes')) / 1e6
        samples[name].push({ millionEvents: sent / 1e6, residentMb: residentBytes(service.pid) / 1e6, heapMb })
      }
      while (sent < events) {
        const seconds = 5
        sent += (await under.read(under.ingress, CONNECTIONS, seconds))['events per second'] * seconds
        await Promise.all([sample('ingress', under.service), sample('projector', projector)])
      }
    } finally {
      await under.close()
    }
    const names = ['ingress', 'projector'] as const
    // The first quarter is left out, because the heap grows until it fits the work.
    const warm = (name: (typeof names)[number]) => samples[name].slice(Math.ceil(samples[name].length / 4))
    const lines = names.flatMap((name) => {
      const slope = slopeOf(warm(name), ({ heapMb }) => heapMb)
      const most = Math.max(...samples[name].map(({ residentMb }) => residentMb))
      return [
        {
          what: `memory over ${(EVENTS * bench.scale) / 1e6} million events, ${name}: slope of the heap`,
          target: `≈ 0 (within ${MAX_SLOPE_MB_PER_MILLION} MB for a million events)`,
          figure: `${slope.toFixed(2)} MB for a million events`,
          met: slope <= MAX_SLOPE_MB_PER_MILLION,
        },
        {
          what: `memory, ${name}: most resident`,
          target: `≤ ${MAX_RESIDENT_MB} MB`,
          figure: `${most.toFixed(0)} MB`,
          met: most <= MAX_RESIDENT_MB,
        },
      ]
    })
    const figures = (name: (typeof names)[number]) => ({
      'resident MB': figureOf(warm(name).map(({ residentMb }) => residentMb)),
      'heap in use MB': figureOf(warm(name).map(({ heapMb }) => heapMb)),
    })
    return {
      lines,
      readings: { ingress: figures('ingress'), projector: figures('projector') },
      curves: names.map((name) => curveOf(name, samples[name])),
      notes: [
        `${CONNECTIONS} connections as fast as they go, the projector beside; ${DISTINCT_EVENTS} distinct ` +
          'events in turn. The first quarter counts as warm-up.',
      ],
    }
  },
}
