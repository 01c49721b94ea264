/** The state of the pipeline, requested every few seconds while a person can see the page. */
import { signal } from '@preact/signals'
import type { PipelineDocument } from '../src/http/pipeline-document.ts'
import { ApiError, ask } from './api.ts'

const INTERVAL_MS = 5000

/** The last answer. Stays during an outage, with its time. */
export const pipeline = signal<PipelineDocument | undefined>(undefined)
/** Error of the last request. Undefined if the request succeeded. */
export const pipelineError = signal<Error | undefined>(undefined)

/** Returns true if this key, or this reader, never gets the state of the pipeline. */
export const isWithheld = (): boolean =>
  pipelineError.value instanceof ApiError && [403, 404].includes(pipelineError.value.status)

const askOnce = async (signalOfStop: AbortSignal): Promise<void> => {
  if (document.hidden) return
  try {
    pipeline.value = await ask<PipelineDocument>('/v1/pipeline', { signal: signalOfStop })
    pipelineError.value = undefined
  } catch (error) {
    if (!signalOfStop.aborted) pipelineError.value = error as Error
  }
}

/** Starts the requests. Returns a function that stops them. */
export const watchPipeline = (): (() => void) => {
  const stopping = new AbortController()
  let timer = 0
  const repeat = async () => {
    clearTimeout(timer)
    await askOnce(stopping.signal)
    clearTimeout(timer)
    // Do not ask again: the key stays refused until the next sign-in.
    if (!stopping.signal.aborted && !isWithheld()) timer = window.setTimeout(repeat, INTERVAL_MS)
  }
  const onVisible = () => {
    if (!document.hidden && !isWithheld()) void repeat()
  }
  document.addEventListener('visibilitychange', onVisible)
  void repeat()
  return () => {
    stopping.abort()
    clearTimeout(timer)
    document.removeEventListener('visibilitychange', onVisible)
    pipeline.value = undefined
    pipelineError.value = undefined
  }
}
