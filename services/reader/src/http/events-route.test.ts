import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import type { CustomerEvents } from '../customer-events.ts'
import type { Reading } from '../customers.ts'
import { KafkaUnavailableError } from '../kafka.ts'
import { CUSTOMER, EVENTS, start } from './fixtures/start-app.ts'

const HISTORY = `${CUSTOMER}/events`

it('a history has the newest events, with their bytes if the client asks for them', async () => {
  const { get, revealed } = start()
  const answer = await get(`${HISTORY}?since=4&raw=1`)
  expect(answer.json()).toMatchObject({
    searched: { since: 4, partition: 3, from: '7', end: '12', isComplete: true },
    events: [
      {
        outcome: 'applied',
        document: { customer: { firstName: 'Ada' } },
        raw: '{"phone":"é"}',
        rawIsUtf8: true,
      },
      { outcome: 'unusable', reason: 'not-json', version: null, raw: '{\ufffd', rawIsUtf8: false },
    ],
  })
  expect([answer.headers['cache-control'], revealed]).toEqual(['no-store', ['full ada']])
  expect((await get(HISTORY)).body).not.toContain('"raw":')
})

it('a key without pii gets masked documents, and no bytes', async () => {
  const { get, revealed } = start()
  const answer = await get(HISTORY, 'masked')
  expect(answer.json().events[0].document.customer.firstName).toBe('***')
  expect((await get(`${HISTORY}?raw=1`, 'masked')).json()).toMatchObject({ status: 403, type: 'forbidden' })
  expect(revealed).toEqual([])
})

it('a key of a dealer sees no event of another dealer, and no event whose dealer is unknown', async () => {
  const events = EVENTS.events.map((event) => ({
    ...event,
    state: event.state && { ...event.state, dealerUuid: 'b' },
  }))
  const { get } = start({ readEvents: async () => ({ ...EVENTS, events }) })
  expect((await get(HISTORY, 'dealer-a')).json().events).toEqual([])
  expect((await start().get(HISTORY, 'dealer-a')).json().events).toHaveLength(1)
})

it.each(['since=x', 'since=-1', 'since=1e9', 'raw=2', 'raw=1&raw=1', 'from=1'])(
  'a history with %s is refused with 400',
  async (query) => {
    expect((await start().get(`${HISTORY}?${query}`)).json()).toMatchObject({
      status: 400,
      type: 'invalid-parameter',
    })
  },
)

it('a history gets 503 in an outage of Kafka, and a third history at the same time gets 429', async () => {
  const { get } = start({ readEvents: () => Promise.reject(new KafkaUnavailableError('x')) })
  expect((await get(HISTORY)).json()).toMatchObject({ type: 'unavailable', detail: 'Kafka does not answer.' })
  const { promise, resolve } = Promise.withResolvers<CustomerEvents>()
  const slow = start({ readEvents: () => promise })
  const waiting = [slow.get(HISTORY), slow.get(HISTORY)]
  await new Promise((done) => setImmediate(done))
  expect((await slow.get(HISTORY)).statusCode).toBe(429)
  resolve(EVENTS)
  expect((await Promise.all(waiting)).map(({ statusCode }) => statusCode)).toEqual([200, 200])
})

it('if the client disconnects while the customer is read, the history is not read', async () => {
  const asked = Promise.withResolvers<void>()
  const read = Promise.withResolvers<Reading>()
  const gone = Promise.withResolvers<boolean>()
  const { app } = start({
    read: () => {
      asked.resolve()
      return read.promise
    },
    readEvents: async (query) => {
      gone.resolve(query.gone.aborted)
      return EVENTS
    },
  })
  onTestFinished(() => app.close())
  const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const closed = once(app.server, 'connection').then(([socket]) => once(socket, 'close'))
  const client = connect(Number(port), '127.0.0.1')
  client.write(`GET ${HISTORY} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer full-key\r\n\r\n`)
  await asked.promise
  client.destroy()
  await closed
  read.resolve({ kind: 'missing' })
  expect(await gone.promise).toBe(true)
})
