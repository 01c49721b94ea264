import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { nodeHttp, PROBLEM_CONTENT_TYPE, type Tracer, withoutSchemas } from '@customer-stream/runtime'
import type { TopicNames } from '@customer-stream/schemas'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import type { End, Outcome } from '../delivery/publisher.ts'
import type { IngressMetrics } from '../metrics.ts'
import {
  type Authenticate,
  type NotAuthenticated,
  type Sender,
  SIGNATURE_HEADER,
  TOKEN_HEADER,
} from './authenticate.ts'
import { type Problem, problemDocument, problems } from './problem.ts'
import { BodyError, createReceiveBody } from './receive-body.ts'
import { createRequestSpans } from './request-spans.ts'
import { type RoutedRecord, routeBody, type Suspicion } from './webhook-route.ts'

/** Facts about a refused request, for the log. Contains no secret and no body. */
export interface Refusal {
  readonly problem: Problem
  /** The check that failed, if the problem is `unauthenticated`. */
  readonly check?: NotAuthenticated['failedCheck']
  readonly sender: Sender
  readonly method: string
  readonly path: string
  readonly contentType: string | undefined
  /** Declared size of the body in bytes. Undefined for a chunked body. */
  readonly bytes: number | undefined
  /** Address of the sender: the peer's address, or the address that a trusted proxy reports. */
  readonly address: string
  readonly peer: string | undefined
  readonly forwardedFor: string | undefined
  /** Trace of the request, if it has one. */
  readonly traceId: string | undefined
}

export interface AppDependencies {
  /** Undefined if authentication is off. */
  readonly authenticate: Authenticate | undefined
  readonly publish: (
    record: RoutedRecord & { readonly value: Buffer; readonly timestamp: number },
    deadlineAt: number,
  ) => Promise<Outcome<End | 'spooled'>>
  readonly topics: TopicNames
  readonly metrics: IngressMetrics
  readonly onInternalError: (error: Error, traceId: string | undefined) => void
  /** Undefined if traces are off. */
  readonly tracer: Tracer | undefined
  /**
   * Called for each request that is refused with 4xx and has a signature or a token. Also called
   * for each request from a forbidden address.
   */
  readonly onRefused: (refusal: Refusal) => void
  /** Called for each event that gets 202 but will probably never be applied. */
  readonly onSuspicion: (suspicion: Suspicion) => void
  /**
   * Aborts when the process gets SIGTERM. After SIGTERM the app still serves requests, but each
   * answer closes its connection.
   */
  readonly stopping: AbortSignal
}

interface AddressSet {
  includes(address: string): boolean
}

export interface AppOptions {
  readonly maxBodyBytes: number
  /** Maximum bytes of all bodies that are still being received. */
  readonly maxReceivingBytes: number
  /**
   * Charset of bodies that declare no charset and are not UTF-8. If undefined, these bodies go to
   * quarantine.
   */
  readonly fallbackEncoding: string | undefined
  readonly acceptDeadlineMs: number
  readonly maxConnections: number
  readonly keepAliveTimeoutMs: number
  /** Time limit for receiving a complete request. */
  readonly requestTimeoutMs: number
  /** Addresses that may send. If undefined, any address may send. */
  readonly allowedAddresses: AddressSet | undefined
  readonly trustedProxies: AddressSet | undefined
}

export const WEBHOOK_PATH = '/webhooks/mykaarma'
export const HEALTH_PATH = '/healthz'

/**
 * Value of the header Retry-After, in seconds. The header is for people and other clients, because
 * myKaarma has its own backoff.
 */
const RETRY_AFTER_SECONDS = '5'

/** After a refusal, the peer has this time to read the answer and to close the connection. */
const CLOSE_DELAY_MS = 1000

/**
 * Closes a socket CLOSE_DELAY_MS after its last answer. If the socket closed immediately, late
 * bytes of the request would reset the connection. The peer would then not get the answer. If the
 * socket stayed open, a peer could keep the connection forever.
 */
const endSlowly = (socket: Duplex): void => {
  socket.end()
  setTimeout(() => socket.destroy(), CLOSE_DELAY_MS).unref()
}

const documentedContentType = /^\s*(?:text\/plain|application\/json)\s*(?:;|$)/i

const oneHeader = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? value.join(', ') : value

/**
 * Maps errors of Node's HTTP parser to problems. After a parser error, fastify gets no request.
 */
const problemOfClientError = (error: { code?: string }): Problem => {
  if (error.code === 'HPE_HEADER_OVERFLOW') return 'headers-too-large'
  if (error.code === 'HPE_INVALID_EOF_STATE') return 'incomplete'
  return error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'request-timeout' : 'bad-request'
}

const problemOfError = (error: { code?: string; statusCode?: number }): Problem => {
  if (error instanceof BodyError) return error.problem
  return error.statusCode !== undefined && error.statusCode < 500 ? 'bad-request' : 'internal-error'
}

/**
 * The public HTTP contract. The order of the checks is: path, method, address, size, token and
 * signature, JSON, topic. The signature is checked over the raw bytes of the body.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: the hooks and routes of one app
export const createApp = (deps: AppDependencies, options: AppOptions): FastifyInstance => {
  const { metrics } = deps
  const spans = createRequestSpans(deps.tracer, WEBHOOK_PATH)
  // By socket: the problem with which the handler of parser errors has answered. This answer is
  // already counted.
  const answeredByParser = new WeakMap<Duplex, Problem>()
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
    ...withoutSchemas,
    logger: false,
    // Accept other spellings of the path, so that no event is lost.
    routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, caseSensitive: false },
    exposeHeadRoutes: false,
    // Without this limit slow senders could keep connections forever.
    requestTimeout: options.requestTimeoutMs,
    http: {
      // The default of `headersTimeout` is 60 s. Node limits the whole request by the longer of
      // `headersTimeout` and `requestTimeout`.
      headersTimeout: options.requestTimeoutMs,
      // Interval in which Node checks `requestTimeout` and `headersTimeout`. The default of 30 s is
      // too long.
      connectionsCheckingInterval: 1000,
      requireHostHeader: false,
    },
    frameworkErrors: (_error, _request, reply) => {
      refuse(reply, 'bad-request')
    },
    clientErrorHandler: (error, socket) => {
      if (error.code === 'ECONNRESET' || !socket.writable) return socket.destroy()
      const problem = problemOfClientError(error)
      answeredByParser.set(socket, problem)
      const { status, body, headers } = rawAnswer(problem)
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
      socket.write(`HTTP/1.1 ${status} ${nodeHttp().STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`)
      endSlowly(socket)
    },
    keepAliveTimeout: options.keepAliveTimeoutMs,
    // Closes the connection of a client that writes requests and reads no answer. The timeout is
    // longer than any normal pause.
    connectionTimeout: options.keepAliveTimeoutMs + options.requestTimeoutMs,
    // Answer requests on open connections during a shutdown, because a refusal would use one of the
    // sender's six attempts.
    return503OnClosing: false,
    ...(options.trustedProxies && {
      trustProxy: (address: string) => options.trustedProxies?.includes(address) ?? false,
    }),
  })

  const senderOf = ({ isAuthentic, notAuthenticated, headers }: FastifyRequest): Sender => {
    if (!deps.authenticate) return 'claimed'
    if (isAuthentic) return 'proven'
    return notAuthenticated?.sender ?? deps.authenticate.senderOf(oneHeader(headers[TOKEN_HEADER]))
  }

  /**
   * Reports a refusal whose cause the sender or the operator must correct. Ignores requests of
   * strangers.
   */
  const report = (request: FastifyRequest, problem: Problem, traceId: string | undefined) => {
    const { headers, socket } = request
    const isOurs = headers[SIGNATURE_HEADER] !== undefined || headers[TOKEN_HEADER] !== undefined
    const failed = request.notAuthenticated
    const sender = senderOf(request)
    if (isOurs && problems[problem].status < 500) {
      metrics.senderRefusals.inc({ problem, sender })
      metrics.lastRefusal.setToCurrentTime()
    } else if (problem !== 'forbidden-address') return
    const bytes = Number(headers['content-length'] ?? Number.NaN)
    deps.onRefused({
      problem,
      ...(failed && { check: failed.failedCheck }),
      sender,
      method: request.method,
      path: request.url,
      contentType: request.contentType ?? headers['content-type'],
      bytes: Number.isNaN(bytes) ? undefined : bytes,
      address: request.ip,
      peer: socket.remoteAddress,
      forwardedFor: oneHeader(headers['x-forwarded-for']),
      traceId,
    })
  }

  /** @param failure the error, if a bug of the ingress ended the request. */
  const refuse = (reply: FastifyReply, problem: Problem, detail?: string, failure?: Error) => {
    const { request } = reply
    metrics.answers.inc({ answer: problem })
    const traceId = spans.refused(request, problems[problem].status, problem)
    report(request, problem, traceId)
    if (failure) deps.onInternalError(failure, traceId)
    if (problems[problem].status === 503) reply.header('retry-after', RETRY_AFTER_SECONDS)
    // Close the connections of unauthenticated senders. Otherwise strangers could use all
    // `MAX_CONNECTIONS`.
    if (!request.isAuthentic) {
      reply.header('connection', 'close')
      const { socket } = request.raw
      // Node calls `destroySoon` after the answer. Node's own `destroySoon` would close the socket
      // immediately.
      if (!request.raw.complete && socket) socket.destroySoon = () => endSlowly(socket)
    }
    return reply.code(problems[problem].status).type(PROBLEM_CONTENT_TYPE).send(problemDocument(problem, detail))
  }

  // Limit connections, because each unauthenticated request can use the memory of one body.
  app.server.maxConnections = options.maxConnections
  app.server.on('drop', () => metrics.dropped.inc())
  app.server.on('connection', (socket) => {
    metrics.connections.inc()
    socket.on('close', () => metrics.connections.dec())
  })
  app.server.on('checkExpectation', (_request, response) => {
    const { status, body, headers } = rawAnswer('expectation-failed')
    response.writeHead(status, headers).end(body)
  })
  // After SIGTERM, each answer closes its connection, so that no sender has an open connection when
  // the port closes.
  app.addHook('onSend', (request, reply, payload, done) => {
    if (deps.stopping.aborted) reply.header('connection', 'close')
    // Only requests to the webhook have a time of arrival. Probes have none.
    if (request.arrivedAt > 0) {
      const seconds = (performance.now() - request.arrivedAt) / 1000
      metrics.requestSeconds.observe({ class: `${Math.floor(reply.statusCode / 100)}xx` }, seconds)
    }
    done(null, payload)
  })

  // The process cuts all open connections a fixed time after it begins to close the port. Each late
  // request must get its answer before this time.
  let lastDeadline = Number.POSITIVE_INFINITY
  app.addHook('preClose', (done) => {
    lastDeadline = performance.now() + options.acceptDeadlineMs
    done()
  })

  app.decorateRequest('arrivedAt', 0)
  app.decorateRequest('deadlineAt', 0)
  app.decorateRequest('isAuthentic', false)
  app.decorateRequest('notAuthenticated', undefined)
  app.decorateRequest('contentType', undefined)
  app.decorateRequest('span', undefined)

  // This hook runs before fastify receives the body.
  app.addHook('onRequest', (request, reply, done) => {
    if (request.is404) return void refuse(reply, 'not-found')
    // Hide the content type, because fastify would refuse a type that it cannot parse.
    request.contentType = request.headers['content-type']
    delete request.headers['content-type']
    done()
  })
  app.setNotFoundHandler((_request, reply) => refuse(reply, 'not-found'))

  // fastify must not parse or decode the body, because the signature is over the raw bytes.
  app.removeAllContentTypeParsers()
  const receiveBody = createReceiveBody({
    maxBodyBytes: options.maxBodyBytes,
    maxBytesTogether: options.maxReceivingBytes,
  })
  app.addContentTypeParser('*', (_request, payload, done) => receiveBody(payload as IncomingMessage, done))

  app.setErrorHandler((error: Error & { code?: string; statusCode?: number }, request, reply) => {
    const byParser = answeredByParser.get(request.raw.socket)
    if (byParser) {
      report(request, byParser, spans.refused(request, problems[byParser].status, byParser))
      return reply.hijack()
    }
    const problem = problemOfError(error)
    const detail = problem === 'too-large' ? `A body may have at most ${options.maxBodyBytes} bytes.` : undefined
    return refuse(reply, problem, detail, problem === 'internal-error' ? error : undefined)
  })

  for (const method of nodeHttp().METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method)
  const refuseOtherMethods = (url: string, ...allowed: string[]) =>
    app.route({
      method: app.supportedMethods.filter((method) => !allowed.includes(method)),
      url,
      onRequest: (_request, reply) => void refuse(reply.header('allow', allowed.join(', ')), 'method-not-allowed'),
      handler: () => undefined,
    })

  refuseOtherMethods(HEALTH_PATH, 'GET', 'HEAD')
  app.route({
    method: ['GET', 'HEAD'],
    url: HEALTH_PATH,
    handler: async (_request, reply) => {
      // This answer ignores the checks of `/readyz`. An outage usually affects all instances. If
      // the load balancer removed all instances, events would be lost.
      const ready = !deps.stopping.aborted
      // Close the connection, because strangers may send this request.
      return reply
        .header('connection', 'close')
        .code(ready ? 200 : 503)
        .send({ status: ready ? 'ready' : 'not-ready' })
    },
  })

  /**
   * Returns true if a request has neither the documented content type nor the sender's headers. The
   * app does not receive the body of this request.
   */
  const isForeign = ({ contentType, headers }: FastifyRequest): boolean =>
    contentType !== undefined &&
    !documentedContentType.test(contentType) &&
    (deps.authenticate?.requiredHeaders ?? []).some((name) => headers[name] === undefined)

  refuseOtherMethods(WEBHOOK_PATH, 'POST')
  app.post(
    WEBHOOK_PATH,
    {
      onRequest: (request, reply, done) => {
        request.arrivedAt = performance.now()
        request.deadlineAt = Math.min(request.arrivedAt + options.acceptDeadlineMs, lastDeadline)
        if (options.allowedAddresses && !options.allowedAddresses.includes(request.ip))
          refuse(reply, 'forbidden-address')
        else if (isForeign(request)) refuse(reply, 'unsupported-media-type')
        else done()
      },
    },
    async (request: FastifyRequest, reply) => {
      // fastify sets no body for a request with an empty body.
      const body = (request.body as Buffer | undefined) ?? Buffer.alloc(0)
      const { contentType } = request
      const signature = oneHeader(request.headers[SIGNATURE_HEADER])
      let encoding: string | undefined
      if (deps.authenticate) {
        const by = deps.authenticate(body, { signature, token: oneHeader(request.headers[TOKEN_HEADER]), contentType })
        if ('failedCheck' in by) {
          metrics.unauthenticated.inc({ check: by.failedCheck })
          request.notAuthenticated = by
          return refuse(reply, 'unauthenticated')
        }
        metrics.authenticated.inc({ secret: by.secret, token: by.token })
        if (by.encoding !== undefined) metrics.transcoded.inc()
        encoding = by.encoding
      }
      request.isAuthentic = true
      const trace = spans.contextOf(request)
      const { record, answer, eventType, suspicion } = routeBody(
        body,
        { signature, trace, contentType, encoding },
        { topics: deps.topics, fallbackEncoding: options.fallbackEncoding },
      )
      const { end } = await deps.publish({ ...record, value: body, timestamp: Date.now() }, request.deadlineAt)
      metrics.published.inc({ event: eventType, outcome: end })
      if (end !== 'stored' && end !== 'spooled') {
        metrics.eventsAtRisk.refused(body)
        return refuse(reply, 'unavailable', end)
      }
      metrics.eventsAtRisk.accepted(body)
      if (answer !== 'accepted') return refuse(reply, answer.problem, answer.detail)
      if (suspicion) {
        metrics.suspicious.inc({ what: suspicion.what })
        deps.onSuspicion(suspicion)
      }
      metrics.answers.inc({ answer: 'accepted' })
      metrics.lastEvent.setToCurrentTime()
      metrics.acceptSeconds.observe((performance.now() - request.arrivedAt) / 1000)
      spans.accepted(request, { 'customer_stream.event': eventType, 'customer_stream.outcome': end })
      return reply.code(202).type('application/json').send('{"status":"accepted"}')
    },
  )
  return app
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Arrival of the headers, on the clock of `performance.now()`. */
    arrivedAt: number
    /** Deadline of the answer, on the clock of `performance.now()`. */
    deadlineAt: number
    /** True if the sender is authenticated, or if authentication is off. */
    isAuthentic: boolean
    /** Set if the checks of signature and token refused the request. */
    notAuthenticated: NotAuthenticated | undefined
    contentType: string | undefined
  }
}
