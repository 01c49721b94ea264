import { STATUS_CODES } from 'node:http'
import type { TopicNames } from '@customer-stream/schemas'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import type { Authenticate } from './authenticate.ts'
import type { IngressMetrics } from './metrics.ts'
import { PROBLEM_CONTENT_TYPE, type Problem, problemDocument, problems } from './problem.ts'
import type { End, Outcome } from './publisher.ts'
import { type RoutedRecord, routeBody } from './webhook-route.ts'

export interface AppDependencies {
  /** Undefined switches authentication off. */
  readonly authenticate: Authenticate | undefined
  readonly publish: (
    record: RoutedRecord & { readonly value: Buffer; readonly timestamp: number },
    deadlineAt: number,
  ) => Promise<Outcome<End | 'spooled'>>
  readonly topics: TopicNames
  readonly metrics: IngressMetrics
  readonly onInternalError: (error: Error) => void
  /** Aborts when the process is told to stop. Requests are still served; each answer ends its connection. */
  readonly stopping: AbortSignal
}

interface AddressSet {
  includes(address: string): boolean
}

export interface AppOptions {
  readonly maxBodyBytes: number
  readonly acceptDeadlineMs: number
  readonly maxConnections: number
  readonly keepAliveTimeoutMs: number
  /** For a request to arrive as a whole. */
  readonly requestTimeoutMs: number
  /** Undefined lets anyone send. */
  readonly allowedAddresses: AddressSet | undefined
  readonly trustedProxies: AddressSet | undefined
}

export const WEBHOOK_PATH = '/webhooks/mykaarma'

/** Seconds after which the sender may try again. It backs off by itself; this is for people and other clients. */
const RETRY_AFTER_SECONDS = '5'

/** After an answer to what was no request, the peer has this long to read it and to close. */
const FAREWELL_MS = 1000

const oneHeader = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value.join(', ') : value)

/** For what is no request that fastify could see: Node's HTTP parser gave up. */
const problemOfClientError = (error: { code?: string }): Problem => {
  if (error.code === 'HPE_HEADER_OVERFLOW') return 'headers-too-large'
  return error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'request-timeout' : 'bad-request'
}

const problemOfError = (error: { code?: string; statusCode?: number }): Problem => {
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') return 'too-large'
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return 'unsupported-media-type'
  return error.statusCode !== undefined && error.statusCode < 500 ? 'bad-request' : 'internal-error'
}

/** The public HTTP contract. Order of checks: address, content type and size, signature and token over the raw bytes, parse, route. */
export const createApp = (deps: AppDependencies, options: AppOptions): FastifyInstance => {
  const { metrics } = deps
  const rawAnswer = (problem: Problem) => {
    metrics.answers.inc({ answer: problem })
    const body = JSON.stringify(problemDocument(problem))
    const { status } = problems[problem]
    return {
      status,
      body,
      headers: { 'content-type': PROBLEM_CONTENT_TYPE, 'content-length': Buffer.byteLength(body), connection: 'close' },
    }
  }
  const app = fastify({
    logger: false,
    bodyLimit: options.maxBodyBytes,
    // Slow senders must not hold connections for ever (fastify's default is no bound).
    requestTimeout: options.requestTimeoutMs,
    http: {
      // Where this is the longer of the two (60 s by default), Node takes it for the whole request: a body that stalls would have that long.
      headersTimeout: options.requestTimeoutMs,
      // Node looks only every 30 s by default.
      connectionsCheckingInterval: 1000,
      requireHostHeader: false,
    },
    frameworkErrors: (_error, _request, reply) => {
      refuse(reply, 'bad-request')
    },
    clientErrorHandler: (error, socket) => {
      if (error.code === 'ECONNRESET' || !socket.writable) return socket.destroy()
      const { status, body, headers } = rawAnswer(problemOfClientError(error))
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
      socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`)
      // A peer that does not close its side would keep its place for ever. Not at once: what it is still sending would reset the connection under the answer.
      setTimeout(() => socket.destroy(), FAREWELL_MS).unref()
    },
    keepAliveTimeout: options.keepAliveTimeoutMs,
    // A second line behind the time for a request, for a client that writes requests and reads no answer. Above all those times in which silence is in order.
    connectionTimeout: options.keepAliveTimeoutMs + options.requestTimeoutMs,
    // While closing, requests on open connections are still served: refusing them would cost the sender one of its six tries.
    return503OnClosing: false,
    ...(options.trustedProxies && { trustProxy: (address: string) => options.trustedProxies?.includes(address) ?? false }),
  })

  const refuse = (reply: FastifyReply, problem: Problem, detail?: string) => {
    metrics.answers.inc({ answer: problem })
    if (problem === 'unavailable') reply.header('retry-after', RETRY_AFTER_SECONDS)
    return reply.code(problems[problem].status).type(PROBLEM_CONTENT_TYPE).send(problemDocument(problem, detail))
  }

  // Unauthenticated requests hold memory too: a body each, at most.
  app.server.maxConnections = options.maxConnections
  app.server.on('drop', () => metrics.dropped.inc())
  app.server.on('checkExpectation', (_request, response) => {
    const { status, body, headers } = rawAnswer('expectation-failed')
    response.writeHead(status, headers).end(body)
  })
  // From the first sign of a stop on: when the port closes, no sender then holds a connection on which it may be about to write.
  app.addHook('onSend', (_request, reply, payload, done) => {
    if (deps.stopping.aborted) reply.header('connection', 'close')
    done(null, payload)
  })

  // When the port closes, connections under way are cut a fixed time later: a request that comes on one of them must have its answer by then.
  let lastDeadline = Number.POSITIVE_INFINITY
  app.addHook('preClose', (done) => {
    lastDeadline = performance.now() + options.acceptDeadlineMs
    done()
  })

  // The raw bytes are what was signed and what is stored; nothing may parse or decode them before.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(['text/plain', 'application/json'], { parseAs: 'buffer' }, (_request, body, done) => done(null, body))

  app.setErrorHandler((error: Error & { code?: string; statusCode?: number }, _request, reply) => {
    const problem = problemOfError(error)
    if (problem === 'internal-error') deps.onInternalError(error)
    return refuse(reply, problem)
  })
  app.setNotFoundHandler((_request, reply) => refuse(reply, 'not-found'))

  app.decorateRequest('deadlineAt', 0)
  app.post(
    WEBHOOK_PATH,
    {
      onRequest: (request, reply, done) => {
        request.deadlineAt = Math.min(performance.now() + options.acceptDeadlineMs, lastDeadline)
        if (options.allowedAddresses && !options.allowedAddresses.includes(request.ip)) refuse(reply, 'forbidden-address')
        else done()
      },
    },
    async (request: FastifyRequest, reply) => {
      // Fastify leaves the body of an empty request undefined.
      const body = (request.body as Buffer | undefined) ?? Buffer.alloc(0)
      const signature = oneHeader(request.headers['mykaarma-signature-token'])
      if (deps.authenticate) {
        const by = deps.authenticate(body, { signature, token: oneHeader(request.headers['x-authorization-token']) })
        if (!by) return refuse(reply, 'unauthenticated')
        metrics.authenticated.inc({ ...by })
      }
      const { record, answer, eventType } = routeBody(body, { signature, traceparent: oneHeader(request.headers.traceparent) }, deps.topics)
      const { end } = await deps.publish({ ...record, value: body, timestamp: Date.now() }, request.deadlineAt)
      metrics.published.inc({ event: eventType, outcome: end })
      if (end !== 'stored' && end !== 'spooled') return refuse(reply, 'unavailable', end)
      if (answer !== 'accepted') return refuse(reply, answer.problem, answer.detail)
      metrics.answers.inc({ answer: 'accepted' })
      return reply.code(202).type('application/json').send('{"status":"accepted"}')
    },
  )
  return app
}

declare module 'fastify' {
  interface FastifyRequest {
    /** By `performance.now()`: when the answer must be out. */
    deadlineAt: number
  }
}
