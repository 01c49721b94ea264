import { makeCustomersEvent } from '@customer-stream/simulator'
import type { ServiceProcess } from '@customer-stream/testing'
import { openIngressUnderLoad } from '../loads/ingress-under-load.ts'
import { figureOf, residentBytes, slopeOfFloor } from '../report/measure.ts'
import type { Curve, Line, Question } from './question.ts'

const EVENTS = 2_000_000
const DISTINCT_EVENTS = 40_000
const CONNECTIONS = 64
const MAX_RESIDENT_MB = 150
/**
 * Maximum growth in MB per million events. Over two million events this is 4 MB. A smaller growth
 * cannot be distinguished from 0.
 */
const MAX_SLOPE_MB_PER_MILLION = 2

interface Sample {
  readonly millionEvents: number
  readonly residentMb: number
  readonly heapMb: number
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

/**
 * Leaves out the first quarter of the samples, because the heap grows to its working size in this
 * time.
 */
const warmSamples = (samples: readonly Sample[]) => samples.slice(Math.ceil(samples.length / 4))

export const memoryLines = (name: string, events: number, samples: readonly Sample[]): readonly Line[] => {
  const slope = slopeOfFloor(warmSamples(samples).map(({ millionEvents, heapMb }) => ({ x: millionEvents, y: heapMb })))
  const most = Math.max(...samples.map(({ residentMb }) => residentMb))
  return [
    {
      what: `memory over ${events / 1e6} million events, ${name}: slope of the heap`,
      target: `≈ 0 (within ${MAX_SLOPE_MB_PER_MILLION} MB for a million events)`,
      figure: `${slope.toFixed(2)} MB for a million events`,
      met: slope <= MAX_SLOPE_MB_PER_MILLION,
    },
    {
      what: `memory, ${name}: maximum resident memory`,
      target: `≤ ${MAX_RESIDENT_MB} MB`,
      figure: `${most.toFixed(0)} MB`,
      met: most <= MAX_RESIDENT_MB,
    },
  ]
}

export const memory: Question = {
  name: 'memory',
  title: 'Whether memory stays flat',
  needsWrk: true,
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
    const figures = (name: (typeof names)[number]) => {
      const warm = warmSamples(samples[name])
      return {
        'resident MB': figureOf(warm.map(({ residentMb }) => residentMb)),
        'heap in use MB': figureOf(warm.map(({ heapMb }) => heapMb)),
      }
    }
    return {
      lines: names.flatMap((name) => memoryLines(name, EVENTS * bench.scale, samples[name])),
      readings: { ingress: figures('ingress'), projector: figures('projector') },
      curves: names.map((name) => curveOf(name, samples[name])),
      notes: [
        `${CONNECTIONS} connections send as fast as they get answers, while the projector applies the events. ` +
          `There are ${DISTINCT_EVENTS} distinct events, sent in turn. The first quarter counts as warm-up.`,
        'The heap in use also contains garbage, which the next major collection removes. The slope is the ' +
          'growth of the memory that stays. It is computed from the minima of ten equal parts of the run: the ' +
          'median of the slopes between all pairs of minima.',
      ],
    }
  },
}
