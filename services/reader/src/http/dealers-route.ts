/** `GET /v1/dealers` */
import type { FastifyInstance } from 'fastify'
import type { Dealer, ListDealers } from '../dealers.ts'
import type { DealerDocument } from './dealer-document.ts'
import { invalid, wholeNumber } from './parameters.ts'
import { ProblemError } from './problem.ts'

export const DEALERS_PATH = '/v1/dealers'
export const MAX_DEALERS = 500

const documentOf = ({ dealerUuid, state, lastEventAt, customers, lastDay, usualDay }: Dealer): DealerDocument => ({
  ...{ dealerUuid, state, customers: customers ?? null, lastEventAt },
  silentSince: state === 'silent' ? lastEventAt : null,
  lastDay: [...lastDay],
  usualDay: [...usualDay],
})

const writeCursor = (dealerUuid: string): string => Buffer.from(JSON.stringify([dealerUuid])).toString('base64url')

/**
 * Reads a cursor. A forged cursor with valid content is harmless. It is only a place in a list that
 * the API key may read.
 */
const readCursor = (text: unknown): string | undefined => {
  if (text === undefined) return undefined
  try {
    const [dealerUuid] = JSON.parse(Buffer.from(String(text), 'base64url').toString())
    if (typeof dealerUuid === 'string' && writeCursor(dealerUuid) === text) return dealerUuid
  } catch {
    // The text is not a cursor.
  }
  throw invalid('cursor must be the cursor of the previous page.')
}

export const addDealersRoute = (app: FastifyInstance, { listDealers }: { readonly listDealers: ListDealers }): void => {
  app.get(DEALERS_PATH, { config: { scope: 'read' } }, async (request, reply) => {
    const { cursor, limit: limitText, ...others } = request.query as Readonly<Record<string, unknown>>
    if (Object.keys(others).length > 0) throw invalid('The parameters are cursor and limit.')
    const limit = wholeNumber(limitText, 'limit', { minimum: 1, maximum: MAX_DEALERS, standard: MAX_DEALERS })
    const page = await listDealers({ maySee: request.client!.maySee, after: readCursor(cursor), limit })
    if (page.kind === 'filling')
      throw new ProblemError('unavailable', 'Redis is being filled, so dealers may be missing.')
    reply.headers({ 'cache-control': 'no-store', vary: 'authorization' })
    const dealers = page.dealers.map(documentOf)
    return { dealers, ...(page.next !== undefined && { cursor: writeCursor(page.next) }) }
  })
}
