/** Types of the spans that the services use. These types do not depend on OpenTelemetry. */

/** W3C trace context, as in the headers of requests and records. */
export interface TraceContext {
  readonly traceparent: string
  readonly tracestate?: string
}

/** Facts about the work of a span. Must not contain secrets or data of customers. */
export type Attributes = Readonly<Record<string, string | number | boolean>>

export interface Span {
  /** Context of this span, for the records that the work causes. */
  readonly context: TraceContext
  /** @param error stable name of the reason, if the work failed. */
  end(attributes: Attributes, error?: string): void
}

export interface SpanOptions {
  readonly name: string
  readonly kind: 'server' | 'consumer'
  /** Time of the span's start, on the clock of `performance.now()`. */
  readonly startedAt: number
  /** Span that caused the work. If undefined, the span begins a new trace. */
  readonly parent: TraceContext | undefined
  /** Other spans that caused the work. */
  readonly links?: readonly TraceContext[]
  /**
   * Decides whether the span is exported. `always`: the span is exported. `ratio`:
   * OTEL_TRACES_SAMPLER_ARG decides. `parent`: the parent decides. Without a parent, or if
   * OTEL_TRACES_SAMPLER is `traceidratio`, `parent` has the effect of `ratio`.
   */
  readonly sampling: 'parent' | 'ratio' | 'always'
}

export interface Tracer {
  start(options: SpanOptions): Span
}

/** True if the context says that its trace is exported. */
export const isSampled = ({ traceparent }: TraceContext): boolean =>
  (Number.parseInt(traceparent.slice(-2), 16) & 1) === 1

export const traceIdOf = ({ traceparent }: TraceContext): string => traceparent.slice(3, 35)
