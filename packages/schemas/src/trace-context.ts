/**
 * W3C trace context of a delivery. Its two headers have the same names in a request and in a
 * record.
 */
import type { RawRecord } from './read-record.ts'
import { RAW_HEADERS } from './topics.ts'

export interface TraceContext {
  readonly traceparent: string
  /** Data of the tracing systems that took part. Absent if these systems gave no data. */
  readonly tracestate?: string
}

// The version ff, and ids that have only zeros, are invalid.
const traceparentForm = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
// The standard demands that 512 characters are passed on. A longer value would enlarge each record.
const tracestateForm = /^[ -~]{1,512}$/

/**
 * Returns the trace context of two headers. Undefined without a valid `traceparent`, because a
 * `tracestate` alone has no meaning. An invalid `tracestate` is left out.
 */
export const readTraceContext = (
  traceparent: string | undefined,
  tracestate: string | undefined,
): TraceContext | undefined => {
  if (traceparent === undefined || !traceparentForm.test(traceparent)) return undefined
  return tracestate !== undefined && tracestateForm.test(tracestate) ? { traceparent, tracestate } : { traceparent }
}

/** Returns the trace context in the headers of a record. Undefined if there is none. */
export const traceContextOf = (headers: RawRecord['headers']): TraceContext | undefined => {
  const traceparent = headers?.[RAW_HEADERS.traceparent]
  if (traceparent === undefined) return undefined
  return readTraceContext(traceparent.toString(), headers?.[RAW_HEADERS.tracestate]?.toString())
}
