import { isWithheld, pipelineError } from './pipeline.ts'
import { Problem } from './problem.tsx'

/** Shown instead of figures that the reader has not sent. */
export const Unavailable = () =>
  pipelineError.value ? (
    <section class="card">
      <h2>{isWithheld() ? 'These figures are not for this API key' : 'These figures are not available'}</h2>
      <Problem error={pipelineError.value} />
      {isWithheld() && <p>The other views show what this API key may see.</p>}
    </section>
  ) : (
    <p class="faint">Asking the reader…</p>
  )
