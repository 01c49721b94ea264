import { type CustomerState, indexNames } from '@customer-stream/schemas'
import { describe, expect, it } from 'vitest'
import { type IndexOptions, indexTerms } from './terms.ts'

const all: IndexOptions = { indexes: indexNames, country: 'US' }

interface Given {
  readonly dealerUuid?: string | null
  readonly customer?: unknown
  readonly vehicles?: unknown
}
/** Returns the terms of a customer. Values may have any type, as the sender may send them. */
const termsOf = (given: Given, options = all) => indexTerms({ customer: {}, ...given } as CustomerState, options)

describe('the terms of a customer', () => {
  it('a customer has terms for its phone numbers, e-mail addresses, VINs, key and dealer', () => {
    const customer = {
      customerKey: 'k1',
      phoneNumbers: [{ phoneNumber: '(415) 200-2671' }],
      emails: [{ emailAddress: 'Ada@Example.com' }],
    }
    expect(termsOf({ dealerUuid: 'd', customer, vehicles: [{ vin: '1gd312cg0bf081737' }] })).toEqual([
      'dealer:d',
      'email:ada@example.com',
      'key:d/k1',
      'phone:+14152002671',
      'vin:1GD312CG0BF081737',
    ])
  })

  it('a customer has only terms of the selected indexes', () => {
    const customer = { customerKey: 'k1' }
    expect(termsOf({ dealerUuid: 'd', customer }, { ...all, indexes: ['dealer'] })).toEqual(['dealer:d'])
    expect(termsOf({ dealerUuid: 'd', customer }, { ...all, indexes: [] })).toEqual([])
  })

  it('a customer has each term only once', () => {
    const phoneNumbers = [{ phoneNumber: '+14152002671' }, { phoneNumber: '415-200-2671' }]
    expect(termsOf({ customer: { phoneNumbers } })).toEqual(['phone:+14152002671'])
  })

  it('the terms of a customer are sorted by the text that Redis stores', () => {
    const texts = ['b', '\ud800z', '\ue000', '\udfff', '\ud800', 'A', 'a']
    const terms = termsOf({ customer: { emails: texts.map((emailAddress) => ({ emailAddress })) } })
    const forms = ['a', 'b', '\ue000', '\ufffd', '\ufffdz']
    expect(terms).toEqual(forms.map((form) => `email:${form}`))
    const sorted: readonly unknown[] = termsOf({
      dealerUuid: 'd',
      customer: { customerKey: 'k', phoneNumbers: [{ phoneNumber: '+14152002671' }], emails: [{ emailAddress: 'a' }] },
      vehicles: [{ vin: 'V2' }, { vin: 'V1' }],
    })
    expect(sorted).toEqual(sorted.toSorted())
  })

  it('500 vehicles have 500 terms', () => {
    const vehicles = Array.from({ length: 500 }, (_, i) => ({ vin: `VIN${i}` }))
    expect(termsOf({ vehicles })).toHaveLength(500)
  })

  it('the same VIN at two dealers gives one term', () => {
    const [first, second] = ['d1', 'd2'].map((dealerUuid) => termsOf({ dealerUuid, vehicles: [{ vin: 'V' }] }))
    expect([first, second]).toEqual([
      ['dealer:d1', 'vin:V'],
      ['dealer:d2', 'vin:V'],
    ])
  })

  it('the same customer key at two dealers gives two terms', () => {
    const customer = { customerKey: 'k' }
    expect(termsOf({ dealerUuid: 'd1', customer })).toContain('key:d1/k')
    expect(termsOf({ dealerUuid: 'd2', customer })).toContain('key:d2/k')
  })

  it('a customer without a dealer has no term in the index of customer keys', () => {
    expect(termsOf({ dealerUuid: null, customer: { customerKey: 'k' } })).toEqual([])
  })

  it('a value that is missing, empty or of a wrong type has no term', () => {
    for (const list of [null, undefined, 'text', 1, {}, [null, 1, 'x', [], {}]]) {
      expect(termsOf({ customer: { phoneNumbers: list, emails: list }, vehicles: list })).toEqual([])
    }
    const customer = { phoneNumbers: [{ phoneNumber: 'none' }], emails: [{ emailAddress: ' ' }] }
    expect(termsOf({ customer, vehicles: [{ vin: 5 }, { vin: '' }] })).toEqual([])
  })

  it('a value of more than 512 characters has no term', () => {
    expect(termsOf({ dealerUuid: 'd'.repeat(512) })).toHaveLength(1)
    expect(termsOf({ dealerUuid: 'd'.repeat(513) })).toEqual([])
  })

  it('in a term, a lone surrogate has the form in which Redis stores it', () => {
    expect(termsOf({ dealerUuid: 'd\u{d800}' })).toEqual(['dealer:d\u{fffd}'])
  })
})
