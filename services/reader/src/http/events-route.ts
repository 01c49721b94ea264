/** `GET /v1/customers/{uuid}/events` */
import type { FastifyInstance } from 'fastify'
import type { CustomerEvent, CustomerEvents, ReadEvents } from '../customer-events.ts'
import type { Customers } from '../customers.ts'
import type { Client } from './api-keys.ts'
import { type RevealDependencies, reportReveal } from './customer-answer.ts'
import { stateDocument } from './customer-document.ts'
import type { EventDocument, EventsDocument } from './event-document.ts'
import { goneSignal } from './gone-signal.ts'
import { maskCustomer } from './mask.ts'
import { invalid, wholeNumber } from './parameters.ts'
import { ProblemError } from './problem.ts'

export interface EventsRouteDependencies extends RevealDependencies {
  readonly customers: Pick<Customers, 'read'>
  readonly readEvents: ReadEvents
}

export const EVENTS_PATH = '/v1/customers/:customerUuid/events'

const DAY_MS = 24 * 3600 * 1000
/**
 * Maximum histories at the same time. The number is small, because a history reads much more than
 * other requests.
 */
const MAX_HISTORIES = 2

const readParameters = (client: Client, query: Readonly<Record<string, unknown>>) => {
  const { since: sinceText, raw, ...others } = query
  if (Object.keys(others).length > 0) throw invalid('The parameters are since and raw.')
  const range = { minimum: 0, maximum: Number.MAX_SAFE_INTEGER, standard: Date.now() - DAY_MS }
  const since = wholeNumber(sinceText, 'since', range)
  if (raw !== undefined && raw !== '0' && raw !== '1') throw invalid('raw must be given once, as 0 or 1.')
  if (raw === '1' && !client.has('pii'))
    throw new ProblemError('forbidden', 'The bytes of an event need the scope pii.')
  return { since, withBytes: raw === '1' }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const rawOf = ({ bytes, contentType }: CustomerEvent): Pick<EventDocument, 'raw' | 'rawIsUtf8' | 'contentType'> => {
  const type = contentType === undefined ? {} : { contentType }
  try {
    return { raw: utf8.decode(bytes), rawIsUtf8: true, ...type }
  } catch {
    return { raw: bytes.toString(), rawIsUtf8: false, ...type }
  }
}

/** Returns undefined if the key may not see the event's dealer. */
const eventDocument = (
  event: CustomerEvent,
  { topic, partition }: CustomerEvents,
  { client, withBytes }: { readonly client: Client; readonly withBytes: boolean },
): EventDocument | undefined => {
  const { offset, receivedAt, version, outcome, isCurrent, reason, state } = event
  const document = state && stateDocument(state)
  if (!client.maySee(document?.dealerUuid ?? undefined)) return undefined
  return {
    source: { topic, partition, offset: String(offset) },
    receivedAt,
    version: version ?? null,
    outcome: outcome ?? null,
    isCurrent,
    ...(reason !== undefined && { reason }),
    ...(document && { document: client.has('pii') ? document : maskCustomer(document) }),
    ...(withBytes && rawOf(event)),
  }
}

export const addEventsRoute = (app: FastifyInstance, deps: EventsRouteDependencies): void => {
  const { customers, readEvents, metrics, onReveal } = deps
  let histories = 0

  const readHistory: ReadEvents = async (query) => {
    if (histories >= MAX_HISTORIES) throw new ProblemError('too-many-requests', 'Too many histories are being read.')
    histories += 1
    try {
      return await readEvents(query)
    } finally {
      histories -= 1
    }
  }

  app.get(EVENTS_PATH, { config: { scope: 'read' } }, async (request, reply) => {
    const client = request.client!
    const { customerUuid } = request.params as { readonly customerUuid: string }
    if (customerUuid === '') throw new ProblemError('not-found')
    const { since, withBytes } = readParameters(client, request.query as Readonly<Record<string, unknown>>)
    const reading = await customers.read(customerUuid, client.maySee)
    const current = reading.kind === 'found' ? reading.customer : undefined
    // The raw topic may have events of a customer that Redis does not have. Only a key for all
    // dealers may see them, because the customer may have another dealer now.
    if (current === undefined && !client.maySee(undefined)) {
      if (reading.kind === 'filling') throw new ProblemError('unavailable', 'Redis is being filled.')
      throw new ProblemError('customer-not-found')
    }
    const found = await readHistory({ customerUuid, since, current, gone: goneSignal(reply) })
    const events = found.events.flatMap((event) => eventDocument(event, found, { client, withBytes }) ?? [])
    if (events.length > 0) reportReveal({ metrics, onReveal }, request, [customerUuid])
    const { partition, from, end, isComplete } = found
    const searched = { since, partition, from: String(from), end: String(end), isComplete }
    const answer: EventsDocument = { customerUuid, events, searched }
    reply.headers({ 'cache-control': 'no-store', vary: 'authorization' })
    // Serialize here, because fastify's own serializer would change long numbers.
    return reply.type('application/json').send(JSON.stringify(answer))
  })
}
