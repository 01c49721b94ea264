import { useSignal } from '@preact/signals'
import { ask } from './api.ts'
import { type Change, compareVersions } from './compare.ts'
import { customerPath } from './customer-path.ts'
import { parseExact } from './exact-json.ts'
import { countOf, UNKNOWN } from './format.ts'
import { Problem } from './problem.tsx'
import { Scroll } from './scroll.tsx'
import { Time } from './time.tsx'
import { Value } from './value.tsx'

interface HistoryEvent {
  readonly version: { readonly timestamp: number; readonly id: string } | null
  readonly outcome: string | null
  readonly receivedAt: number
  readonly source: { readonly topic: string; readonly partition: number; readonly offset: string }
  readonly raw?: string
}

interface HistoryDocument {
  /** The newest record first. */
  readonly events: readonly HistoryEvent[]
  readonly isCut?: boolean
}

const DAY_MS = 86_400_000
const PERIODS = { '1 day': DAY_MS, '7 days': 7 * DAY_MS, '30 days': 30 * DAY_MS } as const
type Period = keyof typeof PERIODS

/** Returns the customer of a raw event. Undefined if the bytes are no event. */
const parseRaw = (raw: string | undefined): unknown => {
  try {
    const { payload } = parseExact(raw ?? '') as { readonly payload?: unknown }
    const content = typeof payload === 'string' ? parseExact(payload) : payload
    return (content as { readonly customerWithVehicles?: unknown }).customerWithVehicles ?? content
  } catch {
    return undefined
  }
}

/** Returns the event of the newest version that is older than this event. */
const eventBefore = (events: readonly HistoryEvent[], { version }: HistoryEvent): HistoryEvent | undefined =>
  events
    .filter((each) => version !== null && each.version !== null && each.version.timestamp < version.timestamp)
    .toSorted((a, b) => b.version!.timestamp - a.version!.timestamp)[0]

const MARKS: Readonly<Record<Change['kind'], string>> = { added: 'new', removed: 'gone', changed: 'changed', same: '' }

const Changes = ({ changes, isFirst }: { readonly changes: readonly Change[]; readonly isFirst: boolean }) => (
  <table>
    <thead>
      <tr>
        <th scope="col">Field</th>
        <th scope="col">Value</th>
        <th scope="col">{isFirst ? 'No earlier event' : 'Since the version before'}</th>
      </tr>
    </thead>
    <tbody>
      {changes.map(({ path, kind, before, after }) => (
        <tr key={path} class={kind === 'same' || isFirst ? '' : 'changed'}>
          <th scope="row">
            <bdi>{path}</bdi>
          </th>
          <td>{kind === 'removed' ? UNKNOWN : <Value value={after} />}</td>
          <td>
            {!isFirst && MARKS[kind]}
            {!isFirst && (kind === 'changed' || kind === 'removed') && (
              <>
                {', was '}
                <Value value={before} />
              </>
            )}
          </td>
        </tr>
      ))}
    </tbody>
  </table>
)

/** The bytes of an event beside its customer. */
const RawAndParsed = ({
  event,
  events,
}: {
  readonly event: HistoryEvent
  readonly events: readonly HistoryEvent[]
}) => {
  const before = eventBefore(events, event)
  const parsed = parseRaw(event.raw)
  return (
    <div class="columns">
      <section>
        <h4>Raw</h4>
        <Scroll name="Raw event">
          <pre>{event.raw}</pre>
        </Scroll>
      </section>
      <section>
        <h4>Parsed</h4>
        {parsed === undefined ? (
          <p>The bytes are no event of a customer.</p>
        ) : (
          <Scroll name="Parsed event">
            <Changes changes={compareVersions(parseRaw(before?.raw), parsed)} isFirst={before === undefined} />
          </Scroll>
        )}
      </section>
    </div>
  )
}

const OUTCOMES: Readonly<Record<string, string>> = { applied: 'good', current: 'good', quarantined: 'bad' }

const Events = ({ events }: HistoryDocument) => (
  <ol class="history">
    {events.map((event) => {
      const { version, outcome, receivedAt, source, raw } = event
      return (
        <li key={`${source.partition} ${source.offset}`}>
          <p>
            <strong>
              <Time at={receivedAt} />
            </strong>{' '}
            <span class={`badge ${OUTCOMES[outcome ?? ''] ?? 'unknown'}`}>{outcome ?? 'outcome not known'}</span>
          </p>
          <p class="faint">
            version <bdi>{version ? `${version.timestamp}:${version.id}` : UNKNOWN}</bdi>, record{' '}
            {`${source.topic}/${source.partition}/${source.offset}`}
          </p>
          {raw !== undefined && (
            <details>
              <summary>Raw and parsed</summary>
              <RawAndParsed event={event} events={events} />
            </details>
          )}
        </li>
      )
    })}
  </ol>
)

/** The events of a customer as a time line. */
export const History = ({ customerUuid }: { readonly customerUuid: string }) => {
  const history = useSignal<HistoryDocument | undefined>(undefined)
  const problem = useSignal<Error | undefined>(undefined)
  const period = useSignal<Period>('1 day')
  const read = async (reveals: boolean) => {
    try {
      const since = Date.now() - PERIODS[period.value]
      const path = `${customerPath(customerUuid)}/events?since=${since}${reveals ? '&raw=1' : ''}`
      history.value = await ask<HistoryDocument>(path, { reveals })
      problem.value = undefined
    } catch (error) {
      problem.value = error as Error
    }
  }
  return (
    <article class="card" aria-labelledby="history">
      <h2 id="history">History</h2>
      <div class="row">
        <label>
          Look back
          <select
            value={period.value}
            onChange={(event) => {
              period.value = event.currentTarget.value as Period
            }}
          >
            {Object.keys(PERIODS).map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <button type="button" onClick={() => read(false)}>
          Show the events
        </button>
        <button type="button" onClick={() => read(true)}>
          Reveal the raw events
        </button>
      </div>
      <Problem error={problem.value} />
      <p role="status">{history.value && `${countOf(history.value.events.length, 'event')} found.`}</p>
      {history.value && <Events {...history.value} />}
    </article>
  )
}
