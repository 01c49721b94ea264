import { type TraceContext, type Tracer, traceIdOf } from '@customer-stream/runtime'
import { readTraceContext } from '@customer-stream/schemas'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** @returns the id of the trace, for the log. Undefined if the request has no trace. */
export type EndSpan = (request: FastifyRequest, reply: FastifyReply, problem?: string) => string | undefined

const first = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? value.join(', ') : value

/**
 * Exports one span for each answered request. A stranger must not choose which traces are exported.
 * So the span of a request without a valid key begins a new trace. The span has only a link to the
 * given context.
 */
export const createEndSpan =
  (tracer: Tracer | undefined): EndSpan =>
  (request, reply, problem) => {
    const { method, headers, client, arrivedAt } = request
    const given: TraceContext | undefined = readTraceContext(first(headers.traceparent), first(headers.tracestate))
    if (tracer === undefined) return given && traceIdOf(given)
    const route = request.routeOptions.url ?? 'none'
    const span = tracer.start({
      name: `${method} ${route}`,
      kind: 'server',
      startedAt: arrivedAt,
      ...(client ? { parent: given, sampling: 'parent' } : { parent: undefined, sampling: 'ratio' }),
      links: client || !given ? [] : [given],
    })
    const status = reply.statusCode
    const facts = { 'http.request.method': method, 'http.route': route, 'http.response.status_code': status }
    // In OpenTelemetry, only a status code of 500 or higher is an error of the server.
    if (problem === undefined || status >= 500) span.end(facts, problem)
    else span.end({ ...facts, 'error.type': problem })
    return traceIdOf(span.context)
  }
