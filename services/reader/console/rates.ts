import type { PipelineDocument, PipelinePoint } from '../src/http/pipeline-document.ts'
import type { ChartProps } from './chart.tsx'
import { formatCount, formatRate, formatSpan } from './format.ts'

const timesOf = ({ history }: PipelineDocument) => history.map(({ at }) => at)
const valuesOf = ({ history }: PipelineDocument, name: Exclude<keyof PipelinePoint, 'at'>) =>
  history.map((point) => point[name])

export const ratesOf = (state: PipelineDocument): ChartProps => ({
  title: 'Events a second, the last hour',
  times: timesOf(state),
  format: formatRate,
  series: [
    { name: 'stored in Kafka', values: valuesOf(state, 'storedPerSecond') },
    { name: 'handled by projectors', values: valuesOf(state, 'handledPerSecond') },
    { name: 'to quarantine', values: valuesOf(state, 'quarantinedPerSecond') },
  ],
})

/** Undefined if no point of the last hour has the requests of the sender. */
export const requestsOf = (state: PipelineDocument): ChartProps | undefined =>
  state.history.every(({ receivedPerSecond }) => receivedPerSecond === null)
    ? undefined
    : {
        title: 'Requests of the sender a second, the last hour',
        times: timesOf(state),
        format: formatRate,
        series: [
          { name: 'received by ingresses', values: valuesOf(state, 'receivedPerSecond') },
          { name: 'refused', values: valuesOf(state, 'refusedPerSecond') },
        ],
      }

export const freshnessOf = (state: PipelineDocument): ChartProps => ({
  title: 'Time from receipt to Redis, the last hour',
  times: timesOf(state),
  format: formatSpan,
  series: [
    { name: 'p50', values: valuesOf(state, 'freshnessP50Ms') },
    { name: 'p99', values: valuesOf(state, 'freshnessP99Ms') },
  ],
})

export const lagOf = (state: PipelineDocument): ChartProps => ({
  title: 'Lag, the last hour',
  times: timesOf(state),
  format: formatCount,
  series: [{ name: 'events stored and not handled', values: valuesOf(state, 'lag') }],
})
