/** `GET /v1/dealers` */
import type { FastifyInstance } from 'fastify'
import type { Dealer, ListDealers } from '../dealers.ts'
import { readCursor, writeCursor } from './cursor.ts'
import type { DealerDocument } from './dealer-document.ts'
import { invalid, wholeNumber } from './parameters.ts'
import { ProblemError } from './problem.ts'

export const DEALERS_PATH = '/v1/dealers'
export const MAX_DEALERS = 500

const documentOf = (dealer: Dealer): DealerDocument => ({
  dealerUuid: dealer.dealerUuid,
  state: dealer.state,
  customers: dealer.customers ?? null,
  lastEventAt: dealer.lastEventAt,
  silentSince: dealer.state === 'silent' ? dealer.lastEventAt : null,
  eventsByHour: [...dealer.eventsByHour],
  usualEventsByHour: [...dealer.usualEventsByHour],
  lastDay: [...dealer.lastDay],
  usualDay: [...dealer.usualDay],
})

const isPlace = (values: readonly unknown[]): values is [string] => values.length === 1 && typeof values[0] === 'string'

export const addDealersRoute = (app: FastifyInstance, { listDealers }: { readonly listDealers: ListDealers }): void => {
  app.get(DEALERS_PATH, { config: { scope: 'read', isOfRedis: true } }, async (request, reply) => {
    const { cursor, limit: limitText, ...others } = request.query as Readonly<Record<string, unknown>>
    if (Object.keys(others).length > 0) throw invalid('The parameters are cursor and limit.')
    const limit = wholeNumber(limitText, 'limit', { minimum: 1, maximum: MAX_DEALERS, standard: MAX_DEALERS })
    const [after] = cursor === undefined ? [] : readCursor(cursor, [], isPlace)
    const page = await listDealers({ maySee: request.client!.maySee, after, limit })
    if (page.kind === 'filling')
      throw new ProblemError('unavailable', 'Redis is being filled, so dealers may be missing.')
    reply.headers({ 'cache-control': 'no-store', vary: 'authorization' })
    const dealers = page.dealers.map(documentOf)
    return { dealers, ...(page.next !== undefined && { cursor: writeCursor([], [page.next]) }) }
  })
}
