import { expect, it } from 'vitest'
import { KafkaUnavailableError } from '../kafka.ts'
import { type Quarantine, RedriveError } from '../quarantine/quarantine.ts'
import { foundRecord, QUARANTINED, start } from './fixtures/start-app.ts'

const RECORD = '/v1/quarantine/t.quarantine-3-17'

it('the list of quarantine has no bytes, only facts about each record', async () => {
  const answer = await start().get('/v1/quarantine', 'operator')
  expect(answer.json()).toEqual({
    records: [
      {
        id: 't.quarantine-3-17',
        partition: 3,
        offset: '17',
        receivedAt: 5,
        reason: 'not-json',
        explanation: expect.any(String),
        stage: 'ingress',
        source: null,
        bytes: 4,
        handled: null,
      },
    ],
  })
})

it('a cursor of quarantine continues after the last record, and is valid for only one reason', async () => {
  const asked: unknown[] = []
  const { get } = start({
    quarantine: {
      list: async (query) => {
        asked.push(query)
        return { records: [QUARANTINED], hasMore: true, isCut: true }
      },
    },
  })
  const { cursor, truncated } = (await get('/v1/quarantine?reason=not-json&limit=1', 'operator')).json()
  expect(truncated).toBe(true)
  await get(`/v1/quarantine?reason=not-json&cursor=${cursor}`, 'operator')
  expect(asked).toEqual([
    { reason: 'not-json', after: undefined, limit: 1 },
    { reason: 'not-json', after: { receivedAt: 5, partition: 3, offset: '17' }, limit: 100 },
  ])
  const limits = ['limit=0', 'limit=-1', 'limit=1e9', 'limit=501']
  for (const query of [`cursor=${cursor}`, `reason=not-utf8&cursor=${cursor}`, 'cursor=x', 'x=1', ...limits])
    expect((await get(`/v1/quarantine?${query}`, 'operator')).json(), query).toMatchObject({
      type: 'invalid-parameter',
    })
})

it('an unknown reason that no record has is refused, and the answer names the nearest known reason', async () => {
  const { get } = start({ quarantine: { list: async () => ({ records: [], hasMore: false, isCut: false }) } })
  const answer = await get('/v1/quarantine?reason=not-jsn', 'operator')
  expect(answer.json()).toMatchObject({ type: 'invalid-parameter', detail: expect.stringContaining('not-json') })
  expect((await get('/v1/quarantine?reason=not-json', 'operator')).json()).toEqual({ records: [] })
})

it('the bytes of a record need the scope pii, and each reveal is reported', async () => {
  const { get, revealed, count } = start()
  for (const [name, headers] of [['operator'], ['revealer', { 'x-mask': 'on' }]] as const)
    expect((await get(RECORD, name, headers)).json()).toMatchObject({ type: 'forbidden', status: 403 })
  expect(revealed).toEqual([])
  const answer = await get(RECORD, 'revealer')
  expect(answer.json()).toMatchObject({
    id: 't.quarantine-3-17',
    key: 'ada',
    headers: { reason: 'not-json' },
    text: '{"é"',
    history: [{ action: 'dropped', at: 9, requestedBy: 'ops', note: 'a test' }],
  })
  expect(answer.headers['cache-control']).toBe('no-store')
  expect(revealed).toEqual(['revealer t.quarantine-3-17'])
  expect(await count('reader_answers_total', 'ok')).toBe(1)
})

it('bytes that are not text are in base64, and a record without bytes has neither text nor base64', async () => {
  const read = (value: Buffer | null) =>
    start({ quarantine: { read: async () => foundRecord(value) } }).get(RECORD, 'revealer')
  expect((await read(Buffer.from([0xff]))).json()).toMatchObject({ base64: '/w==' })
  expect(Object.keys((await read(null)).json())).not.toEqual(expect.arrayContaining(['text']))
})

it.each(['other-3-17', 't.quarantine-3', 't.quarantine-x-1', 't.quarantine-3-17-1', 't.quarantine'])(
  'the id %s is not a record',
  async (id) => {
    expect((await start().get(`/v1/quarantine/${id}`, 'revealer')).json()).toMatchObject({ type: 'record-not-found' })
  },
)

it('a redrive is recorded with the name of the API key, and a dry run without a name', async () => {
  const asked: unknown[] = []
  const redrive: Quarantine['redrive'] = async (place, requestedBy) => {
    asked.push([place, requestedBy])
    return { outcome: 'redriven', topic: 't.customers.raw' }
  }
  const { app } = start({ quarantine: { redrive } })
  const headers = { authorization: 'Bearer operator-key' }
  const post = (query: string) => app.inject({ method: 'POST', url: `${RECORD}/redrive${query}`, headers })
  expect((await post('')).json()).toEqual({ id: 't.quarantine-3-17', outcome: 'redriven', topic: 't.customers.raw' })
  await post('?dry-run=1')
  expect(asked).toEqual([
    [{ partition: 3, offset: '17' }, 'operator'],
    [{ partition: 3, offset: '17' }, undefined],
  ])
  for (const query of ['?dry-run=yes', '?dry-run=1&dry-run=1', '?x=1'])
    expect((await post(query)).json()).toMatchObject({ type: 'invalid-parameter' })
  expect(asked.length).toBe(2)
})

it('an outage of Kafka, or a missing right, is named to the operator', async () => {
  const fail = async () => {
    throw new KafkaUnavailableError('Grant READ on the topic.')
  }
  const { app } = start({ quarantine: { list: fail, read: fail, redrive: fail } })
  const headers = { authorization: 'Bearer revealer-key' }
  for (const [method, url] of [
    ['GET', '/v1/quarantine'],
    ['GET', RECORD],
    ['POST', `${RECORD}/redrive`],
  ] as const)
    expect((await app.inject({ method, url, headers })).json(), url).toMatchObject({
      type: 'unavailable',
      status: 503,
      detail: 'Grant READ on the topic.',
    })
})

it.each([
  [new RedriveError('', true), { status: 409, type: 'redrive-running' }],
  [new RedriveError('no right', false), { status: 503, type: 'redrive-unavailable', detail: 'no right' }],
  [undefined, { status: 404, type: 'record-not-found' }],
])('a redrive that is not possible is answered with a problem document (%s)', async (error, problem) => {
  const redrive = async () => {
    if (error) throw error
    return undefined
  }
  const { app } = start({ quarantine: { redrive } })
  const headers = { authorization: 'Bearer operator-key' }
  const answer = await app.inject({ method: 'POST', url: `${RECORD}/redrive`, headers })
  expect(answer.json()).toMatchObject(problem)
})
