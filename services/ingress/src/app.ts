import type { TopicNames } from '@customer-stream/schemas'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import type { Authenticate } from './authenticate.ts'
import type { IngressMetrics } from './metrics.ts'
import { PROBLEM_CONTENT_TYPE, type Problem, problemDocument, problems } from './problem.ts'
import type { Outcome } from './publisher.ts'
import { type RoutedRecord, routeBody } from './webhook-route.ts'

export interface AppDependencies {
  /** Undefined switches authentication off. */
  readonly authenticate: Authenticate | undefined
  readonly publish: (record: RoutedRecord & { readonly value: Buffer; readonly timestamp: number }, deadlineAt: number) => Promise<Outcome>
  readonly topics: TopicNames
  readonly metrics: IngressMetrics
  readonly onInternalError: (error: Error) => void
}

interface AddressSet {
  includes(address: string): boolean
}

export interface AppOptions {
  readonly maxBodyBytes: number
  readonly acceptDeadlineMs: number
  /** Undefined lets anyone send. */
  readonly allowedAddresses: AddressSet | undefined
  readonly trustedProxies: AddressSet | undefined
}

export const WEBHOOK_PATH = '/webhooks/mykaarma'

/** Seconds after which the sender may try again. It backs off by itself; this is for people and other clients. */
const RETRY_AFTER_SECONDS = '5'

const oneHeader = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value.join(', ') : value)

const problemOfError = (error: { code?: string; statusCode?: number }): Problem => {
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') return 'too-large'
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return 'unsupported-media-type'
  return error.statusCode !== undefined && error.statusCode < 500 ? 'bad-request' : 'internal-error'
}

/** The public HTTP contract. Order of checks: address, content type and size, signature and token over the raw bytes, parse, route. */
export const createApp = (deps: AppDependencies, options: AppOptions): FastifyInstance => {
  const { metrics } = deps
  const app = fastify({
    logger: false,
    bodyLimit: options.maxBodyBytes,
    // Slow senders must not hold connections for ever (fastify's default is no bound); ours hangs up after 5 s anyway.
    requestTimeout: 10_000,
    // Longer than a load balancer keeps idle connections (60 s is usual), so that it never writes into one that we are closing.
    keepAliveTimeout: 72_000,
    // While closing, requests on open connections are still served: refusing them would cost the sender one of its six tries.
    return503OnClosing: false,
    ...(options.trustedProxies && { trustProxy: (address: string) => options.trustedProxies?.includes(address) ?? false }),
  })

  const refuse = (reply: FastifyReply, problem: Problem, detail?: string) => {
    metrics.answers.inc({ answer: problem })
    if (problem === 'unavailable') reply.header('retry-after', RETRY_AFTER_SECONDS)
    return reply.code(problems[problem].status).type(PROBLEM_CONTENT_TYPE).send(problemDocument(problem, detail))
  }

  // The raw bytes are what was signed and what is stored; nothing may parse or decode them before.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(['text/plain', 'application/json'], { parseAs: 'buffer' }, (_request, body, done) => done(null, body))

  app.setErrorHandler((error: Error & { code?: string; statusCode?: number }, _request, reply) => {
    const problem = problemOfError(error)
    if (problem === 'internal-error') deps.onInternalError(error)
    return refuse(reply, problem)
  })
  app.setNotFoundHandler((_request, reply) => refuse(reply, 'not-found'))

  app.post(
    WEBHOOK_PATH,
    {
      onRequest: async (request, reply) => {
        request.deadlineAt = performance.now() + options.acceptDeadlineMs
        if (options.allowedAddresses && !options.allowedAddresses.includes(request.ip)) return refuse(reply, 'forbidden-address')
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
      const outcome = await deps.publish({ ...record, value: body, timestamp: Date.now() }, request.deadlineAt)
      metrics.published.inc({ event: eventType, outcome })
      if (outcome !== 'stored') return refuse(reply, 'unavailable', outcome)
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
