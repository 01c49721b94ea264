import type { FetchedPart } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import { createChangeLog } from './change-log.ts'
import { createChangeStream } from './change-stream.ts'
import { createChangeView } from './change-view.ts'
import { createShownCustomers } from './shown-customers.ts'

it('a stream that ends while it reads older changes keeps no customer in memory', async () => {
  const log = createChangeLog({ maxChanges: 10, maxBytes: 1e6 })
  log.begin('', new Map([[0, '1']]))
  const shown = createShownCustomers()
  const options = { customers: undefined, dealers: new Set(['a']), seesAllDealers: false, isMasked: false, shown: [] }
  const view = createChangeView(options, shown)
  const older = Promise.withResolvers<FetchedPart>()
  const deps = { log, view, readOlder: () => older.promise, onShown: () => {}, onEnd: view.close }
  const { body } = createChangeStream(deps, [0])
  const document = {
    customerUuid: 'c',
    version: { timestamp: 1, id: 'e' },
    dealerUuid: 'a',
    receivedAt: 1,
    customer: { customerUuid: 'c' },
    source: { topic: 'raw', partition: 0, offset: '0' },
  }
  body.destroy()
  const record = { offset: '0', timestamp: '0', key: Buffer.from('c'), value: Buffer.from(JSON.stringify(document)) }
  older.resolve({ records: [record], nextOffset: '1' })
  await new Promise(setImmediate)
  expect(shown.move({ customerUuid: 'c', dealerUuid: 'b', isErased: false })).toBe(false)
})
