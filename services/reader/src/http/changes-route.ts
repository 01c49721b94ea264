/** `GET /v1/changes`: Server-Sent Events of changed and removed customers. */
import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { ViewOptions } from '../changes/change-view.ts'
import type { Changes, OpenedStream } from '../changes/changes.ts'
import { readPosition } from '../changes/stream-position.ts'
import type { Customers } from '../customers.ts'
import type { Authenticate, Client } from './api-keys.ts'
import { type RevealDependencies, reportReveal } from './customer-answer.ts'
import { demandDealer } from './list-routes.ts'
import { invalid } from './parameters.ts'
import { ProblemError } from './problem.ts'

export interface ChangesRouteDependencies extends Pick<RevealDependencies, 'metrics'> {
  readonly onStreamReveal: RevealDependencies['onReveal']
  readonly authenticate: Authenticate
  readonly customers: Pick<Customers, 'readVersion'>
  /** Undefined if the state topic is switched off. */
  readonly changes: Pick<Changes, 'open'> | undefined
}

export const CHANGES_PATH = '/v1/changes'

/** Maximum number of customers that one stream may select. Also the maximum number of dealers. */
export const MAX_FILTERS = 100

const listOf = (value: unknown, name: string): readonly string[] | undefined => {
  if (value === undefined) return undefined
  const texts: readonly unknown[] = Array.isArray(value) ? value : [value]
  const isText = (text: unknown): text is string => typeof text === 'string' && text !== ''
  if (texts.length <= MAX_FILTERS && texts.every(isText)) return texts
  throw invalid(`${name} may be given at most ${MAX_FILTERS} times, and must not be empty.`)
}

const readFilters = (query: Readonly<Record<string, unknown>>) => {
  const { customer, dealer, ...others } = query
  if (Object.keys(others).length > 0) throw invalid('The parameters are customer and dealer.')
  return { customers: listOf(customer, 'customer'), dealers: listOf(dealer, 'dealer') }
}

const readAfter = (header: string | string[] | undefined) => {
  // A browser sends an empty header if no event had an id.
  if (header === undefined || header === '') return undefined
  const position = readPosition(String(header))
  if (position) return position
  throw invalid('Last-Event-ID must be the id of an event.')
}

const problemOf = (kind: Exclude<OpenedStream['kind'], 'stream'>): ProblemError => {
  switch (kind) {
    case 'full':
      return new ProblemError('unavailable', 'This process has too many streams.')
    case 'key-full':
      return new ProblemError('too-many-requests', 'The API key has too many streams.')
    case 'gone':
      return new ProblemError('position-gone')
    case 'unavailable':
      return new ProblemError('unavailable', 'Kafka does not answer, or the service stops.')
  }
}

export const addChangesRoute = (app: FastifyInstance, deps: ChangesRouteDependencies): void => {
  const { authenticate, customers, changes, metrics, onStreamReveal: onReveal } = deps

  const readView = async (client: Client, query: Readonly<Record<string, unknown>>): Promise<ViewOptions> => {
    const filters = readFilters(query)
    for (const dealer of filters.dealers ?? []) demandDealer(client, dealer)
    const dealers = filters.dealers ? new Set(filters.dealers) : client.dealers
    const showsDealer = (dealer: string | undefined) =>
      dealers === undefined || (dealer !== undefined && dealers.has(dealer))
    const shown = (filters.customers ?? []).map(async (customerUuid) => {
      const stored = await customers.readVersion(customerUuid, showsDealer)
      return stored ? [{ customerUuid, dealerUuid: stored.dealerUuid }] : []
    })
    return {
      customers: filters.customers && new Set(filters.customers),
      dealers,
      seesAllDealers: client.dealers === undefined,
      isMasked: !client.has('pii'),
      shown: (await Promise.all(shown)).flat(),
    }
  }

  app.get(CHANGES_PATH, { config: { scope: 'read' } }, async (request, reply) => {
    const client = request.client!
    if (changes === undefined)
      throw new ProblemError('unavailable', 'The state topic is switched off (KAFKA_STATE_TOPIC).')
    const { authorization, 'last-event-id': lastEventId } = request.headers
    const key = authenticate(authorization)
    const after = readAfter(lastEventId)
    const view = await readView(client, request.query as Readonly<Record<string, unknown>>)
    // Proxies such as nginx must not collect the events.
    reply.headers({ 'cache-control': 'no-store', vary: 'authorization', 'x-accel-buffering': 'no' })
    reply.type('text/event-stream')
    // Answer HEAD without a stream, because the stream would never end.
    if (request.method === 'HEAD') return reply.send(Readable.from([]))
    const opened = await changes.open({
      key: client.name,
      view,
      after,
      onChanged: (customerUuids) => reportReveal({ metrics, onReveal }, request, customerUuids),
      isValid: () => authenticate(authorization) === key,
    })
    if (opened.kind !== 'stream') throw problemOf(opened.kind)
    // Switch off the socket's timeout, because a stream may have no changes for a long time. The
    // heartbeats show whether the client still reads.
    reply.raw.setTimeout(0, () => undefined)
    return reply.send(opened.body)
  })
}
