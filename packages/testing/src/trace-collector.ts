import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { inspectSpans } from './leaks.ts'

interface OtlpAttribute {
  readonly key: string
  readonly value: Readonly<Record<string, string | number | boolean>>
}

interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly traceState?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes?: readonly OtlpAttribute[]
  readonly links?: readonly { readonly traceId: string; readonly spanId: string }[]
  readonly status?: { readonly code?: number }
}

interface OtlpRequest {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly OtlpAttribute[] }
    readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[]
  }[]
}

/** A span with the name of its service. */
export interface CollectedSpan extends Omit<OtlpSpan, 'attributes'> {
  readonly service: string
  readonly attributes: Readonly<Record<string, string | number | boolean>>
}

/** Collector of OpenTelemetry for tests: OTLP over HTTP in JSON. */
export interface TraceCollector {
  readonly url: string
  readonly spans: readonly CollectedSpan[]
  /** The headers of each request. */
  readonly requests: readonly IncomingHttpHeaders[]
  /** Replaces the answer to each request. The default answer accepts all spans. */
  answerWith(answer: (response: ServerResponse) => void): void
  close(): Promise<void>
}

const valuesOf = (attributes: readonly OtlpAttribute[] = []) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0] ?? '']))

const spansOf = ({ resourceSpans }: OtlpRequest): CollectedSpan[] =>
  resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        ...span,
        service: String(valuesOf(resource.attributes)['service.name']),
        attributes: valuesOf(span.attributes),
      })),
    ),
  )

export const startTraceCollector = async (): Promise<TraceCollector> => {
  const spans: CollectedSpan[] = []
  const requests: IncomingHttpHeaders[] = []
  let answer = (response: ServerResponse): void => void response.end('{}')
  const server = createServer(async (request, response) => {
    requests.push(request.headers)
    if (request.url === '/v1/traces') {
      const body = await text(request)
      inspectSpans(body)
      spans.push(...spansOf(JSON.parse(body) as OtlpRequest))
    }
    response.setHeader('content-type', 'application/json')
    answer(response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    requests,
    answerWith: (next) => {
      answer = next
    },
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
