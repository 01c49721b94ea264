import { useSignal } from '@preact/signals'
import { useMemo } from 'preact/hooks'
import type { EventDocument, EventsDocument } from '../src/http/event-document.ts'
import { ask, createLatest } from './api.ts'
import { type Change, compareVersions } from './compare.ts'
import { customerPath } from './customer-path.ts'
import { countOf, UNKNOWN } from './format.ts'
import { LongText } from './long-text.tsx'
import { Problem } from './problem.tsx'
import { Scroll } from './scroll.tsx'
import { Time } from './time.tsx'
import { Value } from './value.tsx'

const DAY_MS = 86_400_000
const PERIODS = { '1 day': DAY_MS, '7 days': 7 * DAY_MS, '30 days': 30 * DAY_MS } as const
type Period = keyof typeof PERIODS

/** Returns the parts of an event that describe the customer. */
const contentOf = ({ document }: EventDocument) => {
  const { customer, vehicles, addresses, texts } = document ?? {}
  return { customer, vehicles, addresses, texts }
}

/** Returns the event with the newest version that is older than the version of this event. */
const eventBefore = (events: readonly EventDocument[], { version }: EventDocument): EventDocument | undefined =>
  events
    .filter((each) => each.document && version && each.version && each.version.timestamp < version.timestamp)
    .toSorted((a, b) => b.version!.timestamp - a.version!.timestamp)[0]

const MARKS: Readonly<Record<Change['kind'], string>> = {
  added: 'new',
  removed: 'gone',
  changed: 'changed',
  same: '',
  masked: 'masked, not compared',
}

const Changes = ({ changes, isFirst }: { readonly changes: readonly Change[]; readonly isFirst: boolean }) => (
  <table>
    <thead>
      <tr>
        <th scope="col">Field</th>
        <th scope="col">Value</th>
        <th scope="col">{isFirst ? 'No earlier event' : 'Change since the previous version'}</th>
      </tr>
    </thead>
    <tbody>
      {changes.map(({ path, kind, before, after }) => (
        <tr key={path} class={kind === 'same' || kind === 'masked' || isFirst ? '' : 'changed'}>
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

interface EventProps {
  readonly event: EventDocument
  readonly events: readonly EventDocument[]
}

/** The bytes of an event beside the customer that was parsed from them. */
const RawAndParsed = ({ event, events }: EventProps) => {
  const before = eventBefore(events, event)
  return (
    <div class="grid">
      {event.raw !== undefined && (
        <section>
          <h3>Raw</h3>
          {event.rawIsUtf8 === false && <p class="problem">Bytes that are not UTF-8 were replaced.</p>}
          <LongText name="Raw event" text={event.raw} />
        </section>
      )}
      <section>
        <h3>Parsed</h3>
        {event.document === undefined ? (
          <p>The event cannot be used{event.reason !== undefined && `: ${event.reason}`}.</p>
        ) : (
          <Scroll name="Parsed event">
            <Changes
              changes={compareVersions(before && contentOf(before), contentOf(event))}
              isFirst={before === undefined}
            />
          </Scroll>
        )}
      </section>
    </div>
  )
}

/** Makes the tables when a person opens them, because a history may have thousands of fields. */
const Details = (props: EventProps) => {
  const isOpen = useSignal(false)
  return (
    <details
      onToggle={(event) => {
        isOpen.value = event.currentTarget.open
      }}
    >
      <summary>Details</summary>
      {isOpen.value && <RawAndParsed {...props} />}
    </details>
  )
}

const OUTCOMES: Readonly<Record<string, string>> = { applied: 'good', unusable: 'bad' }

const Events = ({ events }: EventsDocument) => (
  <ol class="history">
    {events.map((event) => {
      const { version, outcome, receivedAt, source, isCurrent } = event
      return (
        <li key={`${source.partition} ${source.offset}`}>
          <p>
            <strong>
              <Time at={receivedAt} />
            </strong>{' '}
            <span class={`badge ${OUTCOMES[outcome ?? ''] ?? 'unknown'}`}>{outcome ?? 'outcome not known'}</span>
            {isCurrent && ' Redis has this event.'}
          </p>
          <p class="faint">
            version <bdi>{version ? `${version.timestamp}:${version.id}` : UNKNOWN}</bdi>, record{' '}
            {`${source.topic}/${source.partition}/${source.offset}`}
          </p>
          <Details event={event} events={events} />
        </li>
      )
    })}
  </ol>
)

/** The events of a customer as a time line. */
export const History = ({ customerUuid }: { readonly customerUuid: string }) => {
  const history = useSignal<EventsDocument | undefined>(undefined)
  const problem = useSignal<Error | undefined>(undefined)
  const period = useSignal<Period>('1 day')
  const begin = useMemo(createLatest, [])
  const read = async (reveals: boolean) => {
    const isLatest = begin()
    try {
      const since = Date.now() - PERIODS[period.value]
      const path = `${customerPath(customerUuid)}/events?since=${since}${reveals ? '&raw=1' : ''}`
      const answer = await ask<EventsDocument>(path, { reveals })
      if (!isLatest()) return
      history.value = answer
      problem.value = undefined
    } catch (error) {
      if (isLatest()) problem.value = error as Error
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
      <p role="status">
        {history.value && `${countOf(history.value.events.length, 'event')} found.`}
        {history.value?.searched.isComplete === false && ' Older events were left out.'}
      </p>
      {history.value && <Events {...history.value} />}
    </article>
  )
}
