import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import type { RedriveAnswer } from '../src/http/quarantine-document.ts'
import { ApiError, ask } from './api.ts'
import { countOf } from './format.ts'
import { Problem } from './problem.tsx'

type Step = 'checking' | 'checked' | 'sending' | 'sent'

const redrive = async (id: string, isDryRun: boolean): Promise<RedriveAnswer> => {
  const path = `/v1/quarantine/${encodeURIComponent(id)}/redrive${isDryRun ? '?dry-run=1' : ''}`
  try {
    return await ask<RedriveAnswer>(path, { method: 'POST' })
  } catch (error) {
    // A record that cannot be redriven must not stop the other records. Only an outage stops the
    // run.
    if (error instanceof ApiError && [400, 404, 409, 422].includes(error.status))
      return { id, outcome: 'refused', why: error.message }
    throw error
  }
}

const Answers = ({ answers }: { readonly answers: readonly RedriveAnswer[] }) => (
  <ul class="values">
    {answers.map(({ id, outcome, topic, why, refused }) => (
      <li key={id}>
        <bdi>{id}</bdi>: <strong>{outcome}</strong>
        {topic !== undefined && ` to ${topic}`}
        {(why ?? refused) !== undefined && (
          <>
            {' '}
            – <bdi>{why ?? refused}</bdi>
          </>
        )}
      </li>
    ))}
  </ul>
)

/** Called with true if a redrive was requested, so that the list may be old. */
type OnClose = (hasSent: boolean) => void

/**
 * Redrives records in two steps: a dry run that writes nothing, then the redrive after a
 * confirmation.
 */
const RedriveDialog = ({ ids, onClose }: { readonly ids: readonly string[]; readonly onClose: OnClose }) => {
  const dialog = useRef<HTMLDialogElement>(null)
  const step = useSignal<Step>('checking')
  const answers = useSignal<readonly RedriveAnswer[]>([])
  const problem = useSignal<Error | undefined>(undefined)
  const asked = useSignal(ids.length)
  const isStopped = useRef(false)
  const stop = () => {
    isStopped.current = true
  }
  const run = async (each: readonly string[], isDryRun: boolean) => {
    step.value = isDryRun ? 'checking' : 'sending'
    asked.value = each.length
    answers.value = []
    try {
      for (const id of each) {
        if (isStopped.current) break
        answers.value = [...answers.value, await redrive(id, isDryRun)]
      }
    } catch (error) {
      problem.value = error as Error
    }
    step.value = isDryRun ? 'checked' : 'sent'
  }
  useEffect(() => {
    dialog.current?.showModal()
    void run(ids, true)
    return stop
  }, [])
  const able = answers.value.filter(({ outcome }) => outcome === 'would-redrive').map(({ id }) => id)
  const [isSending, isSent] = [step.value === 'sending', step.value === 'sent']
  return (
    <dialog ref={dialog} class="card" aria-labelledby="redrive-title" onClose={() => onClose(isSending || isSent)}>
      <h2 id="redrive-title">{isSent ? 'Redriven' : 'Redrive: dry run'}</h2>
      <p role="status">
        {step.value === 'checking' && 'The reader checks each record. Nothing is written.'}
        {step.value === 'checked' && `${countOf(able.length, 'record')} of ${ids.length} can be redriven.`}
        {isSending && 'The reader sends the records.'}
        {isSent && `The reader has answered for ${answers.value.length} of ${countOf(asked.value, 'record')}.`}
      </p>
      <Problem error={problem.value} />
      <Answers answers={answers.value} />
      <div class="row">
        {step.value === 'checked' && able.length > 0 && problem.value === undefined && (
          <button class="main" type="button" onClick={() => run(able, false)}>
            Redrive {countOf(able.length, 'record')} now
          </button>
        )}
        <button type="button" onClick={isSending ? stop : () => dialog.current?.close()}>
          {isSending ? 'Stop after this record' : isSent ? 'Close' : 'Cancel'}
        </button>
      </div>
    </dialog>
  )
}

interface RedriveProps {
  readonly ids: readonly string[]
  /** Text of the button. */
  readonly name: string
  /** Called when the person closes the dialog after a redrive. */
  readonly onEnd: () => void
}

export const Redrive = ({ ids, name, onEnd }: RedriveProps) => {
  const dialogIds = useSignal<readonly string[] | undefined>(undefined)
  const close: OnClose = (hasSent) => {
    dialogIds.value = undefined
    if (hasSent) onEnd()
  }
  return (
    <>
      <button
        class="main"
        type="button"
        disabled={ids.length === 0}
        onClick={() => {
          dialogIds.value = ids
        }}
      >
        {name}
      </button>
      {dialogIds.value && <RedriveDialog ids={dialogIds.value} onClose={close} />}
    </>
  )
}
