import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Erasure, isErased, MAX_ERASURE_TEXT, readErasureRecord, writeErasure } from './erasure.ts'

const erasure: Erasure = { erasedAt: 1000, scope: 'forever', reason: 'asked by letter', requestedBy: 'ops' }
const key = Buffer.from('c')
const read = (value: unknown) => readErasureRecord({ key, value: Buffer.from(JSON.stringify(value)) })

describe('an erasure', () => {
  it('readErasureRecord returns an erasure as it was written', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 50 })
    const erasures = fc.record({
      erasedAt: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      scope: fc.constantFrom('forever' as const, 'until-now' as const),
      reason: text,
      requestedBy: text,
    })
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), erasures, (customerUuid, one) => {
        const record = { key: Buffer.from(customerUuid), value: Buffer.from(writeErasure(one)) }
        expect(readErasureRecord(record)).toEqual({ ok: true, value: { customerUuid, erasure: one } })
      }),
    )
  })

  it.each([
    ['no key', { key: null, value: Buffer.from(writeErasure(erasure)) }, 'missing-key'],
    ['an empty key', { key: Buffer.alloc(0), value: Buffer.from(writeErasure(erasure)) }, 'missing-key'],
    ['a key that is not UTF-8', { key: Buffer.from([0xff]), value: Buffer.from('{}') }, 'invalid-key'],
    ['no value', { key, value: null }, 'missing-value'],
    ['a value that is not JSON', { key, value: Buffer.from('{') }, 'not-an-erasure'],
    ['a value that is not UTF-8', { key, value: Buffer.from([0xff]) }, 'not-an-erasure'],
    ['a value that is not an object', { key, value: Buffer.from('[1]') }, 'not-an-erasure'],
    ['the value null', { key, value: Buffer.from('null') }, 'not-an-erasure'],
  ])('an erasure with %s is refused', (_, record, reason) => {
    expect(readErasureRecord(record)).toMatchObject({ ok: false, reason })
  })

  it.each([
    ['erasedAt must be Unix milliseconds', { erasedAt: '1000' }],
    ['erasedAt must be Unix milliseconds', { erasedAt: 0 }],
    ['erasedAt must be Unix milliseconds', { erasedAt: 1.5 }],
    ['erasedAt must be Unix milliseconds', { erasedAt: 2 ** 53 }],
    ['scope must be "forever" or "until-now"', { scope: 'for ever' }],
    ['scope must be "forever" or "until-now"', { scope: null }],
    ['reason must be a text of at most 1000', { reason: 7 }],
    ['reason must be a text of at most 1000', { reason: 'x'.repeat(MAX_ERASURE_TEXT + 1) }],
    ['requestedBy must be a text of at most 1000', { requestedBy: undefined }],
  ])('an erasure with an invalid member is refused because %s', (rule, wrong) => {
    expect(read({ ...erasure, ...wrong })).toEqual({
      ok: false,
      reason: 'not-an-erasure',
      detail: expect.stringContaining(rule),
    })
    expect(() => writeErasure({ ...erasure, ...wrong } as Erasure)).toThrow(rule)
  })

  it('a byte order mark in the key of an erasure is part of the customerUuid', () => {
    const record = { key: Buffer.from('\uFEFFc'), value: Buffer.from(writeErasure(erasure)) }
    expect(readErasureRecord(record)).toMatchObject({ ok: true, value: { customerUuid: '\uFEFFc' } })
  })

  it('unknown members of an erasure are ignored', () => {
    expect(read({ ...erasure, ticket: 5 })).toMatchObject({ ok: true })
    expect(writeErasure({ ...erasure, ticket: 5 } as Erasure)).not.toContain('ticket')
  })
})

describe('an event of an erased customer', () => {
  it('an erasure covers all events, or the events up to its time', () => {
    const at = (timestamp: number, scope: Erasure['scope']) => isErased({ ...erasure, scope }, { timestamp, id: 'e' })
    expect([999, 1000, 1001].map((timestamp) => at(timestamp, 'until-now'))).toEqual([true, true, false])
    expect([999, 1000, 1001].map((timestamp) => at(timestamp, 'forever'))).toEqual([true, true, true])
  })
})
