import { useSignal } from '@preact/signals'
import type { QuarantineDetail, QuarantineSummary } from '../src/http/quarantine-document.ts'
import { ask } from './api.ts'
import { UNKNOWN } from './format.ts'
import { LongText } from './long-text.tsx'
import { Problem } from './problem.tsx'
import { Redrive } from './redrive.tsx'
import { Time } from './time.tsx'
import { Fields } from './value.tsx'

const LINE = 16

/** Writes bytes as lines of hexadecimal digits and letters. */
const hexOf = (bytes: string): string => {
  const lines: string[] = []
  for (let at = 0; at < bytes.length; at += LINE) {
    const part = bytes.slice(at, at + LINE)
    const digits = [...part].map((byte) => byte.charCodeAt(0).toString(16).padStart(2, '0')).join(' ')
    lines.push(`${at.toString(16).padStart(6, '0')}  ${digits.padEnd(LINE * 3)} ${part.replaceAll(/[^ -~]/g, '.')}`)
  }
  return lines.join('\n')
}

const Bytes = ({ detail: { text, base64 } }: { readonly detail: QuarantineDetail }) => {
  const content = text ?? (base64 === undefined ? undefined : atob(base64))
  if (content === undefined) return <p>Quarantine has no bytes of this record.</p>
  return <LongText name="Bytes" text={content} {...(text === undefined && { format: hexOf })} />
}

const Audit = ({ history }: Pick<QuarantineDetail, 'history'>) => (
  <>
    <h3>What operators did</h3>
    <ol class="values">
      {history.map(({ action, at, requestedBy, note, sentTo }) => (
        <li key={`${at} ${action}`}>
          <Time at={at} />: {action} by <bdi>{requestedBy}</bdi>
          {sentTo !== undefined && `, sent to ${sentTo}`}
          {note !== undefined && (
            <>
              : <bdi>{note}</bdi>
            </>
          )}
        </li>
      ))}
    </ol>
  </>
)

const Detail = ({ detail }: { readonly detail: QuarantineDetail }) => {
  const { key, headers, text, base64, history } = detail
  return (
    <>
      <h3>Bytes{text === undefined && base64 !== undefined && ', which are not text'}</h3>
      <Bytes detail={detail} />
      <h3>Key and headers</h3>
      <Fields of={{ key: key ?? UNKNOWN, ...headers }} />
      {history.length > 0 && <Audit history={history} />}
    </>
  )
}

/** One record of quarantine. Its bytes are personal data, so a person must reveal them. */
export const QuarantineRecord = ({
  record,
  onRedrive,
}: {
  readonly record: QuarantineSummary
  readonly onRedrive: () => void
}) => {
  const detail = useSignal<QuarantineDetail | undefined>(undefined)
  const problem = useSignal<Error | undefined>(undefined)
  const { id, reason, explanation, stage, source, handled } = record
  const reveal = async () => {
    try {
      detail.value = await ask<QuarantineDetail>(`/v1/quarantine/${encodeURIComponent(id)}`, { reveals: true })
      problem.value = undefined
    } catch (error) {
      problem.value = error as Error
    }
  }
  const hide = () => {
    detail.value = undefined
  }
  return (
    <article class="card" aria-labelledby="record">
      <header>
        <h2 id="record" tabIndex={-1}>
          <bdi>{id}</bdi>
        </h2>
        <div class="row">
          {/* A disabled button would lose the focus. */}
          <button type="button" onClick={detail.value ? hide : reveal}>
            {detail.value ? 'Hide the bytes' : 'Reveal the bytes'}
          </button>
          <Redrive ids={handled === 'redriven' ? [] : [id]} name="Redrive this record" onEnd={onRedrive} />
        </div>
      </header>
      <Fields of={{ reason, explanation, stage, source, state: handled ?? 'open' }} />
      <Problem error={problem.value} />
      {detail.value && <Detail detail={detail.value} />}
    </article>
  )
}
