import type { ComponentChildren } from 'preact'
import { Chart } from './chart.tsx'
import { countOf, formatCount, formatRate, formatSpan, UNKNOWN } from './format.ts'
import { isWithheld, pipeline, pipelineError } from './pipeline.ts'
import { addressOf } from './place.ts'
import { Problem } from './problem.tsx'
import { ratesOf } from './rates.ts'
import { Time } from './time.tsx'
import { Unavailable } from './unavailable.tsx'

/** The state of the pipeline in one word, for the head of each view. */
export const StateBadge = () => {
  const { value: state } = pipeline
  if (isWithheld()) return null
  if (pipelineError.value) return <Badge kind="bad" text="No answer" />
  if (state === undefined) return <Badge kind="unknown" text="Asking" />
  if (!state.isWell) return <Badge kind="bad" text="Not well" />
  return <Badge kind="good" text={state.notices.length === 0 ? 'All is well' : 'Well, with notices'} />
}

const Badge = ({ kind, text }: { readonly kind: 'good' | 'bad' | 'unknown'; readonly text: string }) => (
  <p class={`badge ${kind}`} role="status">
    <span aria-hidden="true">{kind === 'good' ? '✓' : kind === 'bad' ? '✕' : '…'}</span> {text}
  </p>
)

interface TileProps {
  readonly name: string
  readonly value: string
  readonly view: string
  readonly children?: ComponentChildren
}

const Tile = ({ name, value, view, children }: TileProps) => (
  <a class="tile card" href={addressOf(view)}>
    <span class="faint">{name}</span>
    <strong>{value}</strong>
    <span class="faint">{children}</span>
  </a>
)

const Tiles = () => {
  const { rates, lag, freshness, quarantine, dealers, sender, projection, lastEventAt, completeAsOf } = pipeline.value!
  const unknown = UNKNOWN
  return (
    <div class="tiles">
      <Tile name="Events stored" value={formatRate(rates.storedPerSecond)} view="flow">
        {rates.storedPerSecond ? (
          'in the last minute'
        ) : (
          // Shown only if no events arrive, because projectors store this time about once a minute.
          <>
            last event <Time at={lastEventAt} isAgo />
          </>
        )}
      </Tile>
      <Tile name="Events handled" value={formatRate(rates.handledPerSecond)} view="flow">
        {projection.projectors === null ? 'projectors not known' : countOf(projection.projectors, 'projector')}
      </Tile>
      <Tile name="Freshness, p99" value={formatSpan(freshness.p99Ms)} view="flow">
        receipt to Redis, p50 {formatSpan(freshness.p50Ms)}
      </Tile>
      <Tile name="Lag" value={formatCount(lag.records)} view="flow">
        {completeAsOf === null ? (
          'stored and not handled'
        ) : (
          <>
            Redis has all events until <Time at={completeAsOf} isAgo />
          </>
        )}
      </Tile>
      <Tile name="Quarantine" value={quarantine ? formatCount(quarantine.open) : unknown} view="quarantine">
        open records
      </Tile>
      <Tile name="Silent dealers" value={formatCount(dealers?.silent)} view="dealers">
        of {dealers ? countOf(dealers.known, 'dealer') : 'an unknown number'}
      </Tile>
      <Tile name="Events at risk" value={formatCount(sender.eventsAtRisk)} view="dealers">
        got 503, not accepted later
      </Tile>
    </div>
  )
}

const List = ({ title, texts }: { readonly title: string; readonly texts: readonly string[] }) =>
  texts.length > 0 && (
    <section class="card">
      <h2>{title}</h2>
      <ul class="reasons">
        {texts.map((text) => (
          <li key={text}>{text}</li>
        ))}
      </ul>
    </section>
  )

const Outage = () => (
  <section class="card bad-edge">
    <h2>The reader gives no state of the pipeline</h2>
    <Problem error={pipelineError.value} />
    {pipeline.value && (
      <p>
        The figures below are of <Time at={pipeline.value.checkedAt} />.
      </p>
    )}
  </section>
)

const hasOutage = (): boolean => pipelineError.value !== undefined && !isWithheld()

export const Overview = () => {
  const { value: state } = pipeline
  if (state === undefined && !hasOutage()) return <Unavailable />
  return (
    <>
      {hasOutage() && <Outage />}
      {state && (
        <>
          {!hasOutage() && (
            <section class={`card ${state.isWell ? 'good-edge' : 'bad-edge'}`}>
              <h2 id="summary">{state.summary}</h2>
              <p class="faint">
                Checked at <Time at={state.checkedAt} />
              </p>
            </section>
          )}
          <List title="Reasons" texts={state.reasons} />
          <Tiles />
          <Chart {...ratesOf(state)} />
          <List title="Notices" texts={state.notices} />
        </>
      )}
    </>
  )
}
