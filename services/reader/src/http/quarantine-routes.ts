/** `GET /v1/quarantine`, `GET /v1/quarantine/{id}` and `POST /v1/quarantine/{id}/redrive` */
import {
  contentTypeOf,
  explanationOf,
  keyTextOf,
  type Place,
  type QuarantinedRecord,
  requireReason,
} from '@customer-stream/quarantine'
import { declaredEncoding, decodeText } from '@customer-stream/schemas'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { KafkaUnavailableError } from '../kafka.ts'
import type { ReaderMetrics } from '../metrics.ts'
import {
  type FoundRecord,
  type Listed,
  type ListPlace,
  type Quarantine,
  RedriveError,
} from '../quarantine/quarantine.ts'
import { readCursor, writeCursor } from './cursor.ts'
import { invalid, wholeNumber } from './parameters.ts'
import { ProblemError } from './problem.ts'
import type { QuarantineDetail, QuarantineList, QuarantineSummary, RedriveAnswer } from './quarantine-document.ts'

export interface QuarantineRoutesDependencies {
  readonly quarantine: Quarantine
  readonly metrics: Pick<ReaderMetrics, 'reveals'>
  /** Called for each answer that shows the bytes of a record of quarantine. */
  readonly onRecordReveal: (key: string, id: string) => void
}

export const QUARANTINE_PATH = '/v1/quarantine'
export const MAX_RECORDS_PER_PAGE = 500
const STANDARD_RECORDS = 100
/** A redrive needs no body. */
const MAX_BODY_BYTES = 1024
const HEADERS = { 'cache-control': 'no-store', vary: 'authorization, x-mask' }

const isPlace = (values: readonly unknown[]): values is [number, number, string] => {
  const [receivedAt, partition, offset, ...rest] = values
  const isOffset = typeof offset === 'string' && /^\d{1,18}$/.test(offset)
  return [receivedAt, partition].every(Number.isSafeInteger) && isOffset && rest.length === 0
}

const readPlace = (cursor: unknown, reason: string | undefined): ListPlace | undefined => {
  if (cursor === undefined) return undefined
  const [receivedAt, partition, offset] = readCursor(cursor, [reason ?? null], isPlace, 'reason')
  return { receivedAt, partition, offset }
}

const readReason = (text: unknown): string | undefined => {
  if (text === undefined || (typeof text === 'string' && text !== '')) return text
  throw invalid('reason must be given once, as the name of a reason.')
}

/** @throws ProblemError that names the nearest reason, if this version does not know the reason. */
const demandReason = (reason: string): void => {
  try {
    requireReason(reason)
  } catch (error) {
    throw invalid((error as Error).message)
  }
}

const summaryOf = (topic: string, { origin: _, ...facts }: Listed): QuarantineSummary => ({
  ...facts,
  id: `${topic}-${facts.partition}-${facts.offset}`,
  explanation: explanationOf(facts.reason),
  source: facts.source ?? null,
  handled: facts.handled ?? null,
})

/** @returns the bytes as text, or in base64 if they are not text. */
const bytesOf = (record: QuarantinedRecord): Pick<QuarantineDetail, 'text' | 'base64'> => {
  const { value } = record
  if (value === null) return {}
  try {
    return { text: decodeText(value, declaredEncoding(contentTypeOf(record))) }
  } catch {
    return { base64: value.toString('base64') }
  }
}

const detailOf = (topic: string, { record, facts, history }: FoundRecord): QuarantineDetail => ({
  ...summaryOf(topic, facts),
  key: keyTextOf(record) ?? null,
  headers: { ...record.headers },
  ...bytesOf(record),
  history: history.map(({ action, at, requestedBy, note, sentTo }) => ({
    action,
    at,
    requestedBy,
    ...(note !== undefined && { note }),
    ...(sentTo !== undefined && { sentTo }),
  })),
})

/** Reads `TOPIC-PARTITION-OFFSET`. */
const placeIn = (request: FastifyRequest, topic: string): Place & { readonly id: string } => {
  const { id } = request.params as { readonly id: string }
  const [, partition, offset] = /^-(\d{1,9})-(\d{1,15})$/.exec(id.slice(topic.length)) ?? []
  if (!id.startsWith(`${topic}-`) || partition === undefined || offset === undefined)
    throw new ProblemError('record-not-found', `An id has the form ${topic}-PARTITION-OFFSET.`)
  return { id, partition: Number(partition), offset: String(Number(offset)) }
}

const isDryRun = (query: unknown): boolean => {
  const { 'dry-run': text, ...others } = query as Readonly<Record<string, unknown>>
  if (Object.keys(others).length > 0) throw invalid('The only parameter is dry-run.')
  if (text !== undefined && text !== '0' && text !== '1') throw invalid('dry-run must be given once, as 0 or 1.')
  return text === '1'
}

/** Rethrows an error as a problem that says why. The clients of these routes are operators. */
const explained = (error: unknown): never => {
  if (error instanceof KafkaUnavailableError) throw new ProblemError('unavailable', error.message)
  if (!(error instanceof RedriveError)) throw error
  throw error.isRunning ? new ProblemError('redrive-running') : new ProblemError('redrive-unavailable', error.message)
}

export const addQuarantineRoutes = (app: FastifyInstance, deps: QuarantineRoutesDependencies): void => {
  const { quarantine, metrics, onRecordReveal } = deps
  const { topic } = quarantine
  const config = { scope: 'operate' } as const

  app.get(QUARANTINE_PATH, { config }, async (request, reply) => {
    const { cursor, reason: reasonText, limit: limitText, ...others } = request.query as Record<string, unknown>
    if (Object.keys(others).length > 0) throw invalid('The parameters are reason, cursor and limit.')
    const range = { minimum: 1, maximum: MAX_RECORDS_PER_PAGE, standard: STANDARD_RECORDS }
    const limit = wholeNumber(limitText, 'limit', range)
    const reason = readReason(reasonText)
    const after = readPlace(cursor, reason)
    const { records, hasMore, isCut } = await quarantine.list({ reason, after, limit }).catch(explained)
    if (records.length === 0 && reason !== undefined) demandReason(reason)
    const last = records.at(-1)
    const answer: QuarantineList = {
      records: records.map((record) => summaryOf(topic, record)),
      ...(hasMore && last && { cursor: writeCursor([reason ?? null], [last.receivedAt, last.partition, last.offset]) }),
      ...(isCut && { truncated: true }),
    }
    reply.headers(HEADERS)
    return answer
  })

  app.get(`${QUARANTINE_PATH}/:id`, { config }, async (request, reply) => {
    const client = request.client!
    if (!client.has('pii')) throw new ProblemError('forbidden', 'The bytes of a record need the scope pii.')
    if (Object.keys(request.query as object).length > 0) throw invalid('This request has no parameters.')
    const place = placeIn(request, topic)
    const found = await quarantine.read(place).catch(explained)
    if (found === undefined) throw new ProblemError('record-not-found')
    const detail = detailOf(topic, found)
    if (request.method !== 'HEAD') {
      metrics.reveals.inc()
      onRecordReveal(client.name, detail.id)
    }
    reply.headers(HEADERS)
    return detail
  })

  app.post(`${QUARANTINE_PATH}/:id/redrive`, { config, bodyLimit: MAX_BODY_BYTES }, async (request, reply) => {
    const requestedBy = isDryRun(request.query) ? undefined : request.client!.name
    const { id, ...place } = placeIn(request, topic)
    const redriven = await quarantine.redrive(place, requestedBy).catch(explained)
    if (redriven === undefined) throw new ProblemError('record-not-found')
    const answer: RedriveAnswer = { id, ...redriven }
    reply.headers(HEADERS)
    return answer
  })
}
