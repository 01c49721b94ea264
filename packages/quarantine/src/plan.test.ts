import { topicNames } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { describe, expect, it } from 'vitest'
import { type PlanOptions, planRedrive } from './plan.ts'
import type { QuarantinedRecord } from './record.ts'

const topics = topicNames('t.')
const options: PlanOptions = {
  topics,
  maxFutureMs: 1000,
  fallbackEncoding: undefined,
  erasureOf: () => undefined,
  isNamed: false,
}
const record = (
  value: Buffer | string | null,
  headers: Readonly<Record<string, string>> = {},
  receivedAt = 5000,
): QuarantinedRecord => ({
  partition: 0,
  offset: '1',
  receivedAt,
  reason: headers.reason ?? 'not-utf8',
  stage: 'ingress',
  source: 't.customers.raw/3/7',
  key: Buffer.from('event-id'),
  value: value === null ? null : Buffer.from(value),
  headers,
})
const event = makeCustomersEvent({ customerUuid: 'c1', timestamp: 4000 })
const ofOther = makeCustomersEvent({ customerUuid: 'c2', timestamp: 4000 })

describe('the plan of a redrive', () => {
  it('a redrive sends a usable event with the bytes, key, headers and time of its delivery', () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const kept = { signature: 's', traceparent, tracestate: 'a=1', 'content-type': 'text/x' }
    expect(
      planRedrive(record(event.body, { reason: 'named-by-setting', ...kept }), { ...options, isNamed: true }),
    ).toEqual({
      send: {
        topic: topics.customers,
        key: Buffer.from('c1'),
        value: Buffer.from(event.body),
        timestamp: 5000,
        headers: kept,
      },
    })
  })

  it('a redrive chooses topic and key of an event of another type by the rules of the ingress', () => {
    const other = JSON.stringify({ id: 'e1', dealeruuid: 'd1', type: 'appointments', timestamp: 1, payload: '{}' })
    expect(planRedrive(record(other), options)).toMatchObject({
      send: { topic: topics.other, key: Buffer.from('d1'), headers: {} },
    })
  })

  it.each([
    ['not-json', '{'],
    ['not-utf8', Buffer.from([0x7b, 0xff, 0x7d])],
    ['missing-type', '{}'],
    ['missing-event-id', JSON.stringify({ ...JSON.parse(event.body.toString()), id: '' })],
    ['too-far-in-future', makeCustomersEvent({ timestamp: 6001 }).body],
  ])('a redrive refuses a record that would return to quarantine: %s', (refused, value) => {
    expect(planRedrive(record(value), options)).toEqual({ refused, why: expect.stringMatching(/^The record .*\.$/) })
  })

  it('a redrive compares the timestamp with the original time of receipt, not with the current time', () => {
    const { body } = makeCustomersEvent({ timestamp: 6001 })
    expect(planRedrive(record(body, {}, 5001), options)).toHaveProperty('send')
  })

  it("a redrive decodes the bytes by the operator's charset, and declares the charset in the record", () => {
    const customer = { customerUuid: 'c1', firstName: 'Jos\u00e9' }
    const payload = JSON.stringify({ customerWithVehicles: { customer } })
    const body = Buffer.from(JSON.stringify({ id: 'e1', timestamp: 1, type: 'customers', payload }), 'latin1')
    expect(planRedrive(record(body), options)).toMatchObject({ refused: 'not-utf8' })
    expect(planRedrive(record(body), { ...options, fallbackEncoding: 'windows-1252' })).toMatchObject({
      send: { value: body, headers: { 'content-type': 'text/plain; charset=windows-1252' } },
    })
  })

  it("a redrive ignores the operator's charset if the record declares a charset", () => {
    const value = Buffer.from([0x7b, 0xff, 0x7d])
    const declared = record(value, { 'content-type': 'text/plain; charset=utf-8' })
    expect(planRedrive(declared, { ...options, fallbackEncoding: 'windows-1252' })).toMatchObject({
      refused: 'not-utf8',
    })
  })

  it.each([
    [{ scope: 'forever', erasedAt: 1 } as const, 'erased'],
    [{ scope: 'until-now', erasedAt: 4000 } as const, 'erased'],
    [{ scope: 'until-now', erasedAt: 3999 } as const, undefined],
  ])('a redrive refuses an event that an erasure covers: %j', (erasure, refused) => {
    const erasureOf = (customerUuid: string) => (customerUuid === 'c1' ? erasure : undefined)
    const plan = planRedrive(record(event.body), { ...options, erasureOf })
    expect('refused' in plan ? plan.refused : undefined).toBe(refused)
  })

  it.each([
    ['another event type', { type: 'serviceOrders', payload: JSON.stringify({ customerUuid: 'c1' }) }],
    ['an object as payload', { type: 'serviceOrders', payload: { customerUuid: 'c1' } }],
    ["another customer's event", { ...JSON.parse(ofOther.body.toString()), spouse: 'c1' }],
  ])('a redrive refuses a record that names an erased customer: %s', (_, fields) => {
    const body = JSON.stringify({ id: 'e1', dealeruuid: 'd1', timestamp: 4000, ...fields })
    const erasedAs = (scope: 'forever' | 'until-now', erasedAt: number) => ({
      ...options,
      erasureOf: (customerUuid: string) => (customerUuid === 'c1' ? { scope, erasedAt } : undefined),
    })
    expect(planRedrive(record(body), erasedAs('forever', 1))).toMatchObject({ refused: 'erased' })
    expect(planRedrive(record(body), erasedAs('until-now', 3999))).toHaveProperty('send')
  })

  it('a redrive refuses a record without bytes, and names the place that has the bytes', () => {
    expect(planRedrive(record(null), options)).toEqual({
      refused: 'no-bytes',
      why: expect.stringContaining('t.customers.raw/3/7'),
    })
  })

  it('if a record has stopped a projector, a redrive sends it only if the operator selects its place', () => {
    const stopped = record(event.body, { reason: 'named-by-setting' })
    expect(planRedrive(stopped, options)).toMatchObject({ refused: 'named-by-setting' })
    expect(planRedrive(stopped, { ...options, isNamed: true })).toHaveProperty('send')
  })
})
