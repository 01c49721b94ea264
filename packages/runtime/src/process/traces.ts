/**
 * Switches traces on. The libraries of OpenTelemetry are loaded only if OTEL_EXPORTER_OTLP_ENDPOINT
 * is set. So these libraries cost nothing in a service without traces.
 */
import { answerOf } from './admin.ts'
import { createThrottledLog, type Logger } from './log.ts'
import { Counter, type Registry, startAtZero } from './metrics.ts'
import { TRACES_STOP_MS } from './process-settings.ts'
import type { Tracer } from './tracer.ts'
import { version } from './version.ts'

export interface Traces {
  /** Undefined if traces are off. */
  readonly tracer: Tracer | undefined
  /** Exports the last spans. Waits at most TRACES_STOP_MS for the collector. Never rejects. */
  stop(): Promise<void>
}

export interface TraceSettings {
  readonly OTEL_EXPORTER_OTLP_ENDPOINT: string | undefined
  /** Read again for each export, because the file of this secret may change. */
  readonly OTEL_EXPORTER_OTLP_HEADERS: ReadonlyMap<string, string>
  readonly OTEL_SERVICE_NAME?: string
  readonly OTEL_TRACES_SAMPLER?: 'parentbased_traceidratio' | 'traceidratio'
  readonly OTEL_TRACES_SAMPLER_ARG?: number
}

const LOG_INTERVAL_MS = 60_000

export const createTraceMetrics = (registry: Registry): { readonly spans: Counter<'outcome'> } => {
  const spans = new Counter({
    name: 'customer_stream_trace_spans_total',
    help:
      'Spans by outcome. `exported`: the collector has them. `dropped`: the collector did not accept them, or too ' +
      'many spans waited. A dropped span loses no event.',
    labelNames: ['outcome'],
    registers: [registry],
  })
  startAtZero(spans, { outcome: ['exported', 'dropped'] })
  return { spans }
}

/** @param service name of the service. In traces its name is `customer-stream-<service>`. */
export const createTraces = async (
  service: string,
  { settings, registry, logger }: { settings: TraceSettings; registry: Registry; logger: Pick<Logger, 'warn'> },
): Promise<Traces> => {
  const { spans } = createTraceMetrics(registry)
  const endpoint = settings.OTEL_EXPORTER_OTLP_ENDPOINT
  if (endpoint === undefined) return { tracer: undefined, stop: async () => undefined }
  const warn = createThrottledLog<{ err: Error }>(
    (fields) =>
      logger.warn(
        { event: 'traces-undelivered', ...fields },
        'the collector does not accept spans, so spans are dropped; events are not affected. Check ' +
          'OTEL_EXPORTER_OTLP_ENDPOINT: the collector must speak OTLP over HTTP (usually port 4318)',
      ),
    LOG_INTERVAL_MS,
  )
  const { openTracing } = await import('./open-telemetry.ts')
  const { tracer, shutdown } = openTracing({
    url: `${endpoint}/v1/traces`,
    headers: () => settings.OTEL_EXPORTER_OTLP_HEADERS,
    serviceName: settings.OTEL_SERVICE_NAME ?? `customer-stream-${service}`,
    version,
    obeysParent: settings.OTEL_TRACES_SAMPLER !== 'traceidratio',
    ratio: settings.OTEL_TRACES_SAMPLER_ARG ?? 1,
    onExported: (count) => spans.inc({ outcome: 'exported' }, count),
    onDropped: (count, err) => {
      spans.inc({ outcome: 'dropped' }, count)
      if (err) warn({ err })
    },
  })
  return { tracer, stop: () => answerOf(shutdown, TRACES_STOP_MS).catch(() => undefined) }
}
