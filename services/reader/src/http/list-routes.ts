/** `POST /v1/customers/search` and `GET /v1/dealers/{uuid}/customers` */
import type { StoredCustomer } from '@customer-stream/schemas'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { readQuery } from '../customer-query.ts'
import type { FindCustomers } from '../find-customers.ts'
import type { ListCustomers } from '../list-customers.ts'
import type { Client } from './api-keys.ts'
import { readCursor, writeCursor } from './cursor.ts'
import { documentFor, type RevealDependencies, reportReveal } from './customer-answer.ts'
import { invalid, wholeNumber } from './parameters.ts'
import { ProblemError } from './problem.ts'

export interface ListRoutesDependencies extends RevealDependencies {
  readonly find: FindCustomers
  readonly list: ListCustomers
}

export const SEARCH_PATH = '/v1/customers/search'
export const DEALER_PATH = '/v1/dealers/:dealerUuid/customers'

/** Maximum number of searches of one API key that are answered at the same time. */
const SEARCHES_AT_ONCE = 16
const LISTS_AT_ONCE = 4

/** Maximum bytes of the body of a search. */
const MAX_QUERY_BYTES = 16_384

export const MAX_LIMIT = 500
const DEFAULT_LIMIT = 100

/** Returns the problem of a list that cannot be answered. */
const problemOf = (kind: 'no-term' | 'no-index' | 'filling'): ProblemError => {
  switch (kind) {
    case 'no-term':
      return invalid('The value cannot be looked up: it is empty, or not a possible phone number.')
    case 'no-index':
      return new ProblemError(
        'unavailable',
        'Redis has no such index. The setting INDEXES of the projector selects the indexes.',
      )
    case 'filling':
      return new ProblemError('unavailable', 'Redis is being filled, so customers may be missing.')
  }
}

/** @throws ProblemError if the API key may not see the dealer. */
export const demandDealer = (client: Client, dealerUuid: string): void => {
  if (!client.maySee(dealerUuid)) throw new ProblemError('forbidden', 'The API key may not see this dealer.')
}

const listOptions = (dealerUuid: string, query: Readonly<Record<string, unknown>>) => {
  const { 'changed-since': sinceText, cursor, limit: limitText, ...others } = query
  if (Object.keys(others).length > 0) throw invalid('The parameters are changed-since, cursor and limit.')
  const since = wholeNumber(sinceText, 'changed-since', { minimum: 0, maximum: Number.MAX_SAFE_INTEGER, standard: 0 })
  const limit = wholeNumber(limitText, 'limit', { minimum: 1, maximum: MAX_LIMIT, standard: DEFAULT_LIMIT })
  if (cursor === undefined) return { since, limit, after: undefined }
  const isPlace = (values: readonly unknown[]): values is [number, string] => {
    const [timestamp, customerUuid, ...rest] = values
    const isTimestamp = Number.isSafeInteger(timestamp) && Number(timestamp) >= since
    return isTimestamp && typeof customerUuid === 'string' && rest.length === 0
  }
  const [timestamp, customerUuid] = readCursor(cursor, [dealerUuid, since], isPlace, 'changed-since')
  return { since, limit, after: { timestamp, customerUuid } }
}

export const addListRoutes = (app: FastifyInstance, { find, list, ...reveal }: ListRoutesDependencies): void => {
  const answer = (request: FastifyRequest, reply: FastifyReply, customers: readonly StoredCustomer[], more: object) => {
    const documents = customers.map((customer) => documentFor(request.client!, customer))
    const customerUuids = documents.map(({ customerUuid }) => customerUuid)
    reportReveal(reveal, request, customerUuids)
    reply.headers({ 'cache-control': 'no-store', vary: 'authorization, x-mask' })
    // Serialize here, because fastify's own serializer would change long numbers.
    return reply.type('application/json').send(JSON.stringify({ customers: documents, ...more }))
  }

  const search = { scope: 'read', atOnce: SEARCHES_AT_ONCE, isOfRedis: true } as const
  const ofDealer = { scope: 'read', atOnce: LISTS_AT_ONCE, isOfRedis: true } as const
  app.post(SEARCH_PATH, { config: search, bodyLimit: MAX_QUERY_BYTES }, async (request, reply) => {
    const client = request.client!
    const query = readQuery(request.body)
    if (query === undefined)
      throw invalid('The body must have phone, email or vin, or dealer and key. Each has 1 to 512 characters.')
    if (query.dealer !== undefined) demandDealer(client, query.dealer)
    const found = await find(query, client.maySee)
    if (found.kind !== 'found') throw problemOf(found.kind)
    return answer(request, reply, found.customers, found.isTruncated ? { truncated: true } : {})
  })

  app.get(DEALER_PATH, { config: ofDealer }, async (request, reply) => {
    const client = request.client!
    const { dealerUuid } = request.params as { readonly dealerUuid: string }
    if (dealerUuid === '') throw new ProblemError('not-found')
    demandDealer(client, dealerUuid)
    const options = listOptions(dealerUuid, request.query as Readonly<Record<string, unknown>>)
    const page = await list(dealerUuid, options)
    if (page.kind !== 'page') throw problemOf(page.kind)
    const cursor = page.next && writeCursor([dealerUuid, options.since], [page.next.timestamp, page.next.customerUuid])
    return answer(request, reply, page.customers, cursor === undefined ? {} : { cursor })
  })
}
