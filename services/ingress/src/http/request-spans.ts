import { type Attributes, type Span, type TraceContext, type Tracer, traceIdOf } from '@customer-stream/runtime'
import { readTraceContext } from '@customer-stream/schemas'
import type { FastifyRequest } from 'fastify'

/**
 * Spans of the requests to the webhook. If traces are off, records get the trace context of the
 * sender.
 */
export interface RequestSpans {
  /** Starts the span of an authentic request. Returns the context for its record. */
  contextOf(request: FastifyRequest): TraceContext | undefined
  /** Ends the span of a request that gets 202. */
  accepted(request: FastifyRequest, facts: Attributes): void
  /**
   * Ends the span of a refused request.
   * @returns the id of the trace, for the log. Undefined if the request has no trace.
   */
  refused(request: FastifyRequest, status: number, problem: string): string | undefined
}

const first = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? value.join(', ') : value

const contextOfSender = ({ headers }: FastifyRequest): TraceContext | undefined =>
  readTraceContext(first(headers.traceparent), first(headers.tracestate))

export const createRequestSpans = (tracer: Tracer | undefined, route: string): RequestSpans => {
  const name = `POST ${route}`
  const always = { 'http.request.method': 'POST', 'http.route': route }
  /**
   * Starts the span of a request that is not authentic. The span begins a new trace, because a
   * stranger must not choose which traces are exported. The span has only a link to the context of
   * the request.
   */
  const spanOfRefused = (request: FastifyRequest): Span | undefined => {
    const given = contextOfSender(request)
    return tracer?.start({
      name,
      kind: 'server',
      startedAt: request.arrivedAt,
      parent: undefined,
      links: given ? [given] : [],
      sampling: 'ratio',
    })
  }
  return {
    contextOf: (request) => {
      const parent = contextOfSender(request)
      request.span = tracer?.start({
        name,
        kind: 'server',
        startedAt: request.arrivedAt,
        parent,
        sampling: 'parent',
      })
      return request.span?.context ?? parent
    },
    accepted: ({ span }, facts) => span?.end({ ...always, 'http.response.status_code': 202, ...facts }),
    refused: (request, status, problem) => {
      // Only requests to the webhook have a time of arrival.
      const span = request.span ?? (request.arrivedAt > 0 ? spanOfRefused(request) : undefined)
      const facts = { ...always, 'http.response.status_code': status }
      // In OpenTelemetry, only a status code of 500 or higher is an error of the server.
      if (status < 500) span?.end({ ...facts, 'error.type': problem })
      else span?.end(facts, problem)
      const context = span?.context ?? contextOfSender(request)
      return context && traceIdOf(context)
    },
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Span of an authentic request. Undefined if traces are off. */
    span: Span | undefined
  }
}
