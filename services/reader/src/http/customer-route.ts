/** `GET /v1/customers/{uuid}` */
import { crc32 } from 'node:zlib'
import type { StoredCustomer } from '@customer-stream/schemas'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Customers, Reading } from '../customers.ts'
import type { ReaderMetrics } from '../metrics.ts'
import { waitForVersion } from '../wait-for-version.ts'
import type { Client } from './api-keys.ts'
import { documentFor, type RevealDependencies, reportReveal } from './customer-answer.ts'
import { goneSignal } from './gone-signal.ts'
import { ProblemError } from './problem.ts'
import { matchesTag, readVersionText, versionText } from './version-text.ts'

export interface CustomerRouteDependencies extends RevealDependencies {
  readonly customers: Pick<Customers, 'read' | 'readVersion'>
  readonly metrics: Pick<ReaderMetrics, 'waiting' | 'reveals'>
  /** Aborts when the process stops. */
  readonly stopping: AbortSignal
}

export interface CustomerRouteOptions {
  /** Maximum time for which a request waits for its version. */
  readonly waitMs: number
  /** Maximum number of requests that wait for a version at the same time. */
  readonly maxWaiting: number
}

export const CUSTOMER_PATH = '/v1/customers/:customerUuid'

const minVersionOf = (query: Readonly<Record<string, unknown>>) => {
  const { 'min-version': text, ...others } = query
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw new ProblemError('invalid-parameter', 'The only parameter is min-version.')
  if (text === undefined) return undefined
  const version = typeof text === 'string' ? readVersionText(text) : undefined
  if (version) return version
  throw new ProblemError('invalid-parameter', 'min-version must be given once, as TIMESTAMP:ID.')
}

const customerOf = (reading: Reading): StoredCustomer => {
  switch (reading.kind) {
    case 'found':
      return reading.customer
    case 'missing':
      throw new ProblemError('customer-not-found')
    case 'filling':
      throw new ProblemError('unavailable', 'Redis is being filled, so the customer may be missing.')
  }
}

export const addCustomerRoute = (
  app: FastifyInstance,
  { customers, metrics, onReveal, stopping }: CustomerRouteDependencies,
  { waitMs, maxWaiting }: CustomerRouteOptions,
): void => {
  let waiting = 0

  /** Reads the customer, and waits for the version that the request demands. */
  const readCustomer = async (request: FastifyRequest, reply: FastifyReply, client: Client) => {
    const { customerUuid } = request.params as { readonly customerUuid: string }
    if (customerUuid === '') throw new ProblemError('not-found')
    const read = () => customers.read(customerUuid, client.maySee)
    const version = minVersionOf(request.query as Readonly<Record<string, unknown>>)
    if (version === undefined) return customerOf(await read())
    if (waiting >= maxWaiting) throw new ProblemError('too-many-requests', 'Too many requests wait for a version.')
    const readVersion = () => customers.readVersion(customerUuid, client.maySee)
    metrics.waiting.set(++waiting)
    try {
      const signal = AbortSignal.any([stopping, goneSignal(reply)])
      const { reading, isReached } = await waitForVersion({ readVersion, read }, version, { waitMs, signal })
      if (isReached || reading.kind === 'filling') return customerOf(reading)
      if (stopping.aborted) throw new ProblemError('unavailable', 'The service stops.')
      throw new ProblemError('version-not-reached')
    } finally {
      metrics.waiting.set(--waiting)
    }
  }

  app.get(CUSTOMER_PATH, { config: { scope: 'read', isOfRedis: true } }, async (request, reply) => {
    const client = request.client!
    const stored = await readCustomer(request, reply, client)
    const document = documentFor(client, stored)
    const version = versionText(stored.version)
    // Serialize here, because fastify's own serializer would change long numbers.
    const body = JSON.stringify(document)
    // A tag of the version alone would be wrong. A repair, a rebuild or the scope `pii` may change
    // the answer although the version stays the same.
    const tag = `"${version};${crc32(body).toString(16)}"`
    reply.headers({
      etag: tag,
      // A cache may store the answer, but must ask again before each use.
      'cache-control': 'private, no-cache',
      vary: 'authorization, x-mask',
      'x-customer-version': version,
      'x-customer-source': stored.source,
      'x-received-at': stored.receivedAt,
      'x-applied-at': stored.appliedAt,
    })
    if (matchesTag(request.headers['if-none-match'], tag)) return reply.code(304).send()
    reportReveal({ metrics, onReveal }, request, [document.customerUuid])
    return reply.type('application/json').send(body)
  })
}
