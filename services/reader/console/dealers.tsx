import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import type { DealerDocument } from '../src/http/dealer-document.ts'
import type { PipelineDocument } from '../src/http/pipeline-document.ts'
import { ask } from './api.ts'
import { formatCount, formatRate, UNKNOWN } from './format.ts'
import { pipeline } from './pipeline.ts'
import { Problem } from './problem.tsx'
import { Scroll } from './scroll.tsx'
import { Time } from './time.tsx'
import { Unavailable } from './unavailable.tsx'

interface Page {
  readonly dealers: readonly DealerDocument[]
  readonly cursor?: string
}

const INTERVAL_MS = 30_000

const page = signal<Page | undefined>(undefined)
const problem = signal<Error | undefined>(undefined)

const askPage = (cursor: string | undefined): Promise<Page> =>
  ask<Page>(`/v1/dealers${cursor === undefined ? '' : `?cursor=${encodeURIComponent(cursor)}`}`)

/** Reads pages from the first dealer until the list has `minimum` dealers, or all dealers. */
const readPages = async (minimum: number): Promise<Page> => {
  let list = await askPage(undefined)
  while (list.cursor !== undefined && list.dealers.length < minimum) {
    const next = await askPage(list.cursor)
    list = { ...next, dealers: [...list.dealers, ...next.dealers] }
  }
  return list
}

const shown = (): number => page.value?.dealers.length ?? 0

/**
 * Reads and shows at least `minimum` dealers. A refresh never shortens the list, because a person
 * may read a later page.
 */
const show = async (minimum: number): Promise<void> => {
  const before = shown()
  try {
    const list = await readPages(minimum)
    // A person may have asked for more dealers meanwhile.
    if (shown() <= Math.max(before, list.dealers.length)) page.value = list
    problem.value = undefined
  } catch (error) {
    problem.value = error as Error
  }
}

const WIDTH = 4
const HEIGHT = 12

/** Returns the sum, with `≥` if some hours are not known. Returns a dash if no hour is known. */
const sumOf = (events: DealerDocument['eventsByHour']): string => {
  const known = events.filter((count) => count !== null)
  const sum = formatCount(known.reduce((a, b) => a + b, 0))
  if (known.length === 0) return UNKNOWN
  return known.length < events.length ? `≥ ${sum}` : sum
}

/** Bars of the last 24 hours. The line shows the usual day. */
const Day = ({ eventsByHour, usualEventsByHour }: DealerDocument) => {
  const most = Math.max(1, ...eventsByHour.map(Number), ...usualEventsByHour.map(Number))
  const height = (events: number) => (events / most) * HEIGHT
  const usual = usualEventsByHour
    .flatMap((events, i) => {
      const y = HEIGHT - height(events ?? 0)
      return events === null ? [] : [`${i * WIDTH},${y} ${(i + 1) * WIDTH},${y}`]
    })
    .join(' ')
  return (
    <svg
      class="day"
      viewBox={`0 -1 ${24 * WIDTH} ${HEIGHT + 2}`}
      role="img"
      aria-label={`Events by hour, at most ${formatCount(Math.max(...eventsByHour.map(Number)))}`}
    >
      <path d={`M0 ${HEIGHT}.5H${24 * WIDTH}`} />
      {eventsByHour.map(
        (events, i) =>
          events !== null && (
            <rect
              key={`${i}h`}
              x={i * WIDTH + 0.5}
              y={HEIGHT - height(events)}
              width={WIDTH - 1}
              height={height(events)}
            />
          ),
      )}
      {usual !== '' && <polyline points={usual} />}
    </svg>
  )
}

const STATES: Readonly<Record<string, string>> = { active: 'good', silent: 'bad', gone: 'bad', new: 'unknown' }

const Row = (dealer: DealerDocument) => (
  <tr>
    <th scope="row">
      <bdi>{dealer.dealerUuid}</bdi>
    </th>
    <td>
      <span class={`badge ${STATES[dealer.state] ?? 'unknown'}`}>{dealer.state}</span>
    </td>
    <td class="number">{formatCount(dealer.customers)}</td>
    <td>
      <Time at={dealer.lastEventAt} isAgo />
    </td>
    <td>{dealer.silentSince !== null && <Time at={dealer.silentSince} />}</td>
    <td class="number">{sumOf(dealer.eventsByHour)}</td>
    <td>
      <Day {...dealer} />
    </td>
  </tr>
)

const Dealer = ({ dealers, cursor }: Page) => (
  <section class="card">
    <h2 id="dealers">Activity of each dealer</h2>
    <p class="faint">
      Bars: events of each of the last 24 hours. Line: the usual day of this dealer. Each dealer has its own scale.
    </p>
    {dealers.length === 0 ? (
      <p>No dealer has sent an event.</p>
    ) : (
      <Scroll name="Table of dealers">
        <table>
          <thead>
            <tr>
              <th scope="col">Dealer</th>
              <th scope="col">State</th>
              <th scope="col" class="number">
                Customers
              </th>
              <th scope="col">Last event</th>
              <th scope="col">Silent since</th>
              <th scope="col" class="number">
                Events in 24 h
              </th>
              <th scope="col">By hour</th>
            </tr>
          </thead>
          <tbody>
            {dealers.map((dealer) => (
              <Row key={dealer.dealerUuid} {...dealer} />
            ))}
          </tbody>
        </table>
      </Scroll>
    )}
    {cursor !== undefined && (
      <button type="button" onClick={() => show(dealers.length + 1)}>
        More dealers
      </button>
    )}
  </section>
)

const Sender = ({ sender, rates }: PipelineDocument) => (
  <section class="card">
    <h2>Health of the sender</h2>
    <p class="faint">Averages of the last minute. Events at risk got 503 and were not accepted later.</p>
    <dl class="fields">
      <div>
        <dt>requests received</dt>
        <dd class="number">{formatRate(rates.receivedPerSecond)}</dd>
      </div>
      <div>
        <dt>requests refused</dt>
        <dd class="number">{formatRate(sender.refusedPerSecond)}</dd>
      </div>
      <div>
        <dt>events at risk, at most</dt>
        <dd class="number">{formatCount(sender.eventsAtRisk)}</dd>
      </div>
    </dl>
    {sender.eventsAtRisk === null && (
      <p class="faint">A dash: the reader does not know this figure. INGRESS_ADMIN_URLS must name each ingress.</p>
    )}
  </section>
)

const Drift = ({ drift }: PipelineDocument) => (
  <section class="card">
    <h2 id="drift">Drift: differences from the documentation</h2>
    {drift === null && <p>This figure is not available.</p>}
    {drift?.length === 0 && <p>The events in the sample agree with the documentation.</p>}
    {drift !== null && drift.length > 0 && (
      <Scroll name="Table of differences">
        <table>
          <thead>
            <tr>
              <th scope="col">Field</th>
              <th scope="col">Difference</th>
              <th scope="col">Type</th>
              <th scope="col">First</th>
              <th scope="col">Last</th>
              <th scope="col" class="number">
                Events
              </th>
            </tr>
          </thead>
          <tbody>
            {drift.map(({ kind, path, type, firstAt, lastAt, events }) => (
              <tr key={`${kind} ${path} ${type}`}>
                <th scope="row">
                  <bdi>{path}</bdi>
                </th>
                <td>{kind}</td>
                <td>{type}</td>
                <td>
                  <Time at={firstAt} />
                </td>
                <td>
                  <Time at={lastAt} isAgo />
                </td>
                <td class="number">{formatCount(events)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    )}
  </section>
)

export const Dealers = () => {
  useEffect(() => {
    void show(0)
    const timer = setInterval(() => {
      if (!document.hidden) void show(shown())
    }, INTERVAL_MS)
    return () => {
      clearInterval(timer)
      page.value = undefined
    }
  }, [])
  return (
    <>
      <Problem error={problem.value} />
      {page.value && <Dealer {...page.value} />}
      {pipeline.value ? (
        <>
          <Sender {...pipeline.value} />
          <Drift {...pipeline.value} />
        </>
      ) : (
        <Unavailable />
      )}
    </>
  )
}
