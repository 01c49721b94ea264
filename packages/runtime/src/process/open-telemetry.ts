/**
 * Spans through OpenTelemetry. Only `traces.ts` imports this file, and only if traces are on.
 *
 * Memory is bounded: at most MAX_WAITING_SPANS spans wait, and at most MAX_EXPORTS requests with
 * SPANS_OF_EXPORT spans each are open. Further spans are dropped. A failed export is repeated only
 * until EXPORT_TIMEOUT_MS, because newer spans are more useful than old spans.
 */
import { hostname } from 'node:os'
import {
  createTraceState,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  type Span as TelemetrySpan,
  TraceFlags,
  trace,
} from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  type SpanExporter,
  type SpanProcessor,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import type { Span, SpanOptions, TraceContext, Tracer } from './tracer.ts'

const MAX_WAITING_SPANS = 2048
const SPANS_OF_EXPORT = 512
/**
 * Maximum exports at the same time. A shutdown exports all waiting spans at once, while one more
 * export may be running.
 */
const MAX_EXPORTS = MAX_WAITING_SPANS / SPANS_OF_EXPORT + 1
const EXPORT_INTERVAL_MS = 1000
const EXPORT_TIMEOUT_MS = 10_000

interface TracingOptions {
  readonly url: string
  readonly headers: () => ReadonlyMap<string, string>
  readonly serviceName: string
  readonly version: string
  /** If true, a span with a parent follows the parent's sampling decision. */
  readonly obeysParent: boolean
  /** Share of the traces to export, 0 to 1. Not used if the parent decides. */
  readonly ratio: number
  readonly onExported: (spans: number) => void
  /**
   * @param error why an export failed. Undefined if the spans were dropped because too many waited.
   */
  readonly onDropped: (spans: number, error?: Error) => void
}

/** Creates the only processor of spans. The processor counts exported and dropped spans. */
const createProcessor = ({ url, headers, onExported, onDropped }: TracingOptions): SpanProcessor => {
  const otlp = new OTLPTraceExporter({
    url,
    headers: async () => Object.fromEntries(headers()),
    timeoutMillis: EXPORT_TIMEOUT_MS,
    concurrencyLimit: MAX_EXPORTS,
  })
  let waiting = 0
  const exporter: SpanExporter = {
    export: (spans, done) => {
      waiting -= spans.length
      otlp.export(spans, (result) => {
        // Code 0 means success. The constant with this value is in a separate package of
        // OpenTelemetry.
        if (result.code === 0) onExported(spans.length)
        else onDropped(spans.length, result.error ?? new Error('the export failed'))
        done(result)
      })
    },
    shutdown: () => otlp.shutdown(),
  }
  const batches = new BatchSpanProcessor({
    exporter,
    maxQueueSize: MAX_WAITING_SPANS,
    maxExportBatchSize: SPANS_OF_EXPORT,
    scheduledDelayMillis: EXPORT_INTERVAL_MS,
    // The exporter has its own timeout and reports each failure. So this limit must be longer than
    // that timeout.
    exportTimeoutMillis: 2 * EXPORT_TIMEOUT_MS,
  })
  return {
    onStart: () => undefined,
    // Count spans beyond the limit as dropped, because the library drops them silently.
    onEnd: (span) => {
      if (waiting >= MAX_WAITING_SPANS) return onDropped(1)
      waiting += 1
      batches.onEnd(span)
    },
    forceFlush: () => batches.forceFlush(),
    shutdown: () => batches.shutdown(),
  }
}

const spanContextOf = ({ traceparent, tracestate }: TraceContext): SpanContext => ({
  traceId: traceparent.slice(3, 35),
  spanId: traceparent.slice(36, 52),
  traceFlags: Number.parseInt(traceparent.slice(53), 16) & TraceFlags.SAMPLED,
  isRemote: true,
  ...(tracestate !== undefined && { traceState: createTraceState(tracestate) }),
})

const flagsOf = ({ traceFlags }: SpanContext): string => traceFlags.toString(16).padStart(2, '0')

const KINDS = { server: SpanKind.SERVER, consumer: SpanKind.CONSUMER } as const

const spanOf = (span: TelemetrySpan, tracestate: string | undefined): Span => ({
  get context() {
    const context = span.spanContext()
    const traceparent = `00-${context.traceId}-${context.spanId}-${flagsOf(context)}`
    return tracestate === undefined ? { traceparent } : { traceparent, tracestate }
  },
  end: (attributes, error) => {
    span.setAttributes(attributes)
    if (error !== undefined) span.setAttribute('error.type', error).setStatus({ code: SpanStatusCode.ERROR })
    span.end(performance.now())
  },
})

export const openTracing = (
  options: TracingOptions,
): { readonly tracer: Tracer; readonly shutdown: () => Promise<void> } => {
  const ratio = new TraceIdRatioBasedSampler(options.ratio)
  const processor = createProcessor(options)
  const resource = resourceFromAttributes({
    'service.name': options.serviceName,
    'service.version': options.version,
    'service.instance.id': hostname(),
  })
  const tracerWith = (sampler: Sampler) =>
    new TracerProvider({ sampler, resource, spanProcessors: [processor] }).getTracer('customer-stream', options.version)
  const tracers: Record<SpanOptions['sampling'], ReturnType<typeof tracerWith>> = {
    parent: tracerWith(options.obeysParent ? new ParentBasedSampler({ root: ratio }) : ratio),
    ratio: tracerWith(ratio),
    always: tracerWith(new AlwaysOnSampler()),
  }
  return {
    tracer: {
      start: ({ name, kind, startedAt, parent, links = [], sampling }) => {
        const context = parent ? trace.setSpanContext(ROOT_CONTEXT, spanContextOf(parent)) : ROOT_CONTEXT
        const span = tracers[sampling].startSpan(
          name,
          { kind: KINDS[kind], startTime: startedAt, links: links.map((link) => ({ context: spanContextOf(link) })) },
          context,
        )
        return spanOf(span, parent?.tracestate)
      },
    },
    shutdown: () => processor.shutdown(),
  }
}
