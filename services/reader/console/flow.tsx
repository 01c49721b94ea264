import type { PipelineDocument } from '../src/http/pipeline-document.ts'
import { Changes } from './changes.tsx'
import { Chart } from './chart.tsx'
import { countOf, formatCount, formatRate, UNKNOWN } from './format.ts'
import { pipeline } from './pipeline.ts'
import { freshnessOf, lagOf, ratesOf, requestsOf } from './rates.ts'
import { Scroll } from './scroll.tsx'
import { Unavailable } from './unavailable.tsx'

const MIN_FULL_BAR = 100

const Partitions = ({ lag }: PipelineDocument) => {
  // A lag of one record must not fill the bar.
  const most = Math.max(MIN_FULL_BAR, ...lag.partitions.map(({ records }) => records ?? 0))
  return (
    <section class="card">
      <h2>Lag of each partition</h2>
      <Scroll name="Table of partitions">
        <table>
          <thead>
            <tr>
              <th scope="col">Partition</th>
              <th scope="col" class="number">
                Position
              </th>
              <th scope="col" class="number">
                End
              </th>
              <th scope="col" class="number">
                Lag
              </th>
              <td class="bar" />
            </tr>
          </thead>
          <tbody>
            {lag.partitions.map(({ partition, position, end, records }) => (
              <tr key={partition}>
                <th scope="row" class="short">
                  {partition}
                </th>
                <td class="number">{position ?? UNKNOWN}</td>
                <td class="number">{end ?? UNKNOWN}</td>
                <td class="number">{formatCount(records)}</td>
                <td class="bar">
                  <meter min={0} max={most} value={records ?? 0} aria-hidden="true" />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  )
}

interface CountsProps {
  readonly title: string
  readonly counts: Readonly<Record<string, number>> | null | undefined
  readonly format: (value: number) => string
  readonly note: string
}

const Counts = ({ title, counts, format, note }: CountsProps) => (
  <section class="card">
    <h2>{title}</h2>
    <p class="faint">{note}</p>
    {counts == null ? (
      <p>This figure is not available.</p>
    ) : (
      <dl class="fields">
        {Object.entries(counts).map(([name, count]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd class="number">{format(count)}</dd>
          </div>
        ))}
      </dl>
    )}
  </section>
)

const Figures = () => {
  const { value: state } = pipeline
  if (state === undefined) return <Unavailable />
  const { outcomes, quarantine, rates } = state
  const requests = requestsOf(state)
  const perSecond = {
    'received by ingresses': rates.receivedPerSecond,
    'stored in Kafka': rates.storedPerSecond,
    'handled by projectors': rates.handledPerSecond,
  }
  const open = quarantine && countOf(quarantine.open, 'open record')
  return (
    <>
      <div class="grid charts">
        <Chart {...ratesOf(state)} />
        <Chart {...freshnessOf(state)} />
        <Chart {...lagOf(state)} />
        {requests && <Chart {...requests} />}
      </div>
      <div class="grid">
        <Partitions {...state} />
        <div class="stack">
          <Counts
            {...{ title: 'Rates', note: 'Averages of the last minute.', format: formatRate }}
            counts={perSecond as Readonly<Record<string, number>>}
          />
          <Counts
            title="Outcomes"
            note="Records a second, averages of the last minute."
            format={formatRate}
            counts={outcomes}
          />
          <Counts
            {...{ title: 'Quarantine by reason', format: formatCount, counts: quarantine?.openByReason }}
            note={open ? `${open}${quarantine.isCut ? ', among the newest records' : ''}.` : ''}
          />
        </div>
      </div>
    </>
  )
}

export const Flow = () => (
  <>
    <Figures />
    <Changes />
  </>
)
