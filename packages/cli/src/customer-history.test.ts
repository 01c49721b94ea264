import { makeCustomersEvent } from '@customer-stream/simulator'
import { expect, it } from 'vitest'
import { createHistory, type HistoryOptions } from './customer-history.ts'

const TOPIC = 't.customers.raw'

const historyOf = (options: Partial<HistoryOptions> = {}) =>
  createHistory({
    customerUuid: 'ada',
    topic: TOPIC,
    maxFutureMs: 1000,
    limit: 100,
    erasure: undefined,
    positions: new Map([[3, 1000n]]),
    source: undefined,
    ...options,
  })
/** Returns a record of the raw topic. */
const record = (offset: number, timestamp: number, id = `e${timestamp}`, customerUuid = 'ada', key = customerUuid) => ({
  offset: String(offset),
  timestamp: String(5000 + offset),
  key: Buffer.from(key),
  value: Buffer.from(makeCustomersEvent({ customerUuid, timestamp, id }).body),
  headers: {},
})
const quarantined = (offset: number, headers: Readonly<Record<string, string>>, key: string | null = 'ada') => ({
  offset: String(offset),
  timestamp: '5001',
  key: key === null ? null : Buffer.from(key),
  value: Buffer.from('x'),
  headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)])),
})
const outcomes = (history: ReturnType<typeof historyOf>) =>
  history.events().map(({ outcome, reason }) => (reason === undefined ? outcome : `${outcome}: ${reason}`))

it('the history distinguishes newer, older and repeated events, and ignores other customers', () => {
  const history = historyOf({ source: `${TOPIC}/3/4` })
  for (const each of [
    record(0, 10),
    record(1, 5),
    record(2, 10),
    record(3, 99, 'x', 'eve'),
    record(4, 20),
    record(5, 30, 'y', 'eve', 'ada'),
  ])
    history.addRaw(each, 3)
  expect(outcomes(history)).toEqual(['applied', 'older', 'repeat', 'applied'])
  expect(history.events()[3]).toEqual({
    place: `${TOPIC}/3/4`,
    receivedAt: 5004,
    version: { timestamp: 20, id: 'e20' },
    outcome: 'applied',
    isInRedis: true,
  })
})

it('the history shows an unusable event as quarantined only if quarantine has a copy', () => {
  const history = historyOf()
  history.addRaw(record(0, 10), 3)
  history.addRaw({ ...record(1, 1), value: Buffer.from('no JSON') }, 3)
  history.addRaw(record(2, 9_000_000), 3)
  history.addRaw(record(3, 5), 3)
  const place = { stage: 'projector', topic: TOPIC, partition: '3' }
  history.addQuarantined(quarantined(7, { ...place, reason: 'too-far-in-future', offset: '2' }, null), 'q', 0)
  history.addQuarantined(quarantined(8, { ...place, reason: 'not-json', offset: '1', partition: '4' }), 'q', 0)
  history.addQuarantined(quarantined(9, { ...place, reason: 'x', offset: '3', topic: 'other' }), 'q', 0)
  expect(outcomes(history)).toEqual(['applied', 'unusable: not-json', 'quarantined: too-far-in-future', 'older'])
  expect(history.events().map(({ copy }) => copy)).toEqual([undefined, undefined, 'q/0/7', undefined])
})

it('a usable record that an operator put into quarantine is not shown as applied', () => {
  const history = historyOf()
  history.addRaw(record(0, 10), 3)
  history.addRaw(record(1, 5), 3)
  const named = { reason: 'named-by-setting', topic: TOPIC, partition: '3', offset: '0' }
  history.addQuarantined(quarantined(7, named), 'q', 0)
  expect(outcomes(history)).toEqual(['quarantined: named-by-setting', 'applied'])
})

it('an event that the ingress has quarantined is sorted by its time of receipt', () => {
  const history = historyOf()
  history.addRaw(record(0, 10), 3)
  history.addRaw(record(2, 20), 3)
  history.addQuarantined(quarantined(7, { reason: 'nested-too-deep', stage: 'ingress' }), 'q', 5)
  history.addQuarantined(quarantined(8, { reason: 'not-json', stage: 'ingress' }, 'eve'), 'q', 5)
  expect(history.events().map(({ place }) => place)).toEqual([`${TOPIC}/3/0`, 'q/5/7', `${TOPIC}/3/2`])
})

it('the history shows events after the position as waiting, and events of an erased customer as erased', () => {
  const history = historyOf({ positions: new Map([[3, 2n]]), erasure: { scope: 'until-now', erasedAt: 10 } })
  for (const each of [record(0, 10), record(1, 11), record(2, 12)]) history.addRaw(each, 3)
  expect(outcomes(history)).toEqual(['erased', 'applied', 'waiting'])
  const written = historyOf({ positions: new Map([[3, 0n]]), source: `${TOPIC}/3/0` })
  written.addRaw(record(0, 10), 3)
  expect(outcomes(written)).toEqual(['applied'])
  const forever = historyOf({ erasure: { scope: 'forever', erasedAt: 1 } })
  forever.addRaw(record(0, 10), 3)
  expect(outcomes(forever)).toEqual(['erased'])
})

it('a limited history keeps the newest events, but their outcomes also depend on older events', () => {
  const history = historyOf({ limit: 2 })
  for (const each of [record(0, 10), record(1, 50), record(2, 20), record(3, 50)]) history.addRaw(each, 3)
  expect(history.leftOut).toBe(2)
  expect(outcomes(history)).toEqual(['older', 'repeat'])
})

it('an event too far in the future is listed with its version', () => {
  const history = historyOf()
  history.addRaw(record(0, 9_000_000), 3)
  history.addRaw(record(1, 10), 3)
  expect(history.events()).toMatchObject([
    { outcome: 'unusable', reason: 'too-far-in-future', version: { timestamp: 9_000_000, id: 'e9000000' } },
    { outcome: 'applied', version: { timestamp: 10 } },
  ])
})

it('the history sorts events of two partitions by time of receipt, and compares them by version', () => {
  const history = historyOf({
    positions: new Map([
      [1, 9n],
      [3, 9n],
    ]),
    source: `${TOPIC}/3/6`,
  })
  for (const each of [record(5, 20), record(6, 60)]) history.addRaw(each, 3)
  for (const each of [record(2, 30), record(3, 10)]) history.addRaw(each, 1)
  history.addQuarantined(quarantined(7, { reason: 'x', topic: TOPIC, partition: '1', offset: '3' }), 'q', 0)
  expect(history.events().map(({ place, outcome }) => [place, outcome])).toEqual([
    [`${TOPIC}/1/2`, 'applied'],
    [`${TOPIC}/1/3`, 'quarantined'],
    [`${TOPIC}/3/5`, 'older'],
    [`${TOPIC}/3/6`, 'applied'],
  ])
})

it('a limited history of two partitions keeps the newest events of both', () => {
  const history = historyOf({ limit: 2 })
  for (const each of [record(5, 20), record(6, 60)]) history.addRaw(each, 3)
  for (const each of [record(2, 30), record(7, 10)]) history.addRaw(each, 1)
  expect(history.events().map(({ place, outcome }) => [place, outcome])).toEqual([
    [`${TOPIC}/3/6`, 'applied'],
    [`${TOPIC}/1/7`, 'older'],
  ])
  expect(history.leftOut).toBe(2)
})
