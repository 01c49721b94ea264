import fc from 'fast-check'
import { type CountryCode, getCountries, parsePhoneNumberFromString } from 'libphonenumber-js/max'
import { describe, expect, it } from 'vitest'
import { normaliseEmail, normalisePhone, normaliseVin } from './normalise.ts'

describe('a phone number', () => {
  it('a phone number has the same normalised form with and without its country code', () => {
    for (const text of ['+1 415 200 2671', '(415) 200-2671', '4152002671', '415.200.2671 ext. 12'])
      expect(normalisePhone(text, 'US')).toBe('+14152002671')
  })

  it('a phone number without a country code belongs to the default country', () => {
    expect(normalisePhone('020 7946 0958', 'GB')).toBe('+442079460958')
  })

  it.each(['', '   ', 'call me', '12345', '200-2671', '+1 415 200 267100', '\0', '📞', '+', '9'.repeat(100_000)])(
    'a text that is not a phone number has no normalised form (%#)',
    (text) => {
      expect(normalisePhone(text, 'US')).toBeUndefined()
    },
  )

  it('a phone number is normalised even if libphonenumber does not know its area code', () => {
    expect(normalisePhone('(999) 555-0123', 'US')).toBe('+19995550123')
    expect(normalisePhone('+19995550123', 'US')).toBe('+19995550123')
  })

  it('our own normalisation of a phone number gives the same form as libphonenumber', () => {
    const digit = fc.integer({ min: 0, max: 9 })
    // 011 is the prefix for calls to other countries.
    const areaDigits = fc.oneof(fc.constant([0, 1, 1]), fc.array(digit, { minLength: 3, maxLength: 3 }))
    const spelling = fc.record({
      code: fc.constantFrom('', '1', '+1', '+', '01'),
      area: areaDigits.map((digits) => digits.join('')),
      rest: fc.array(digit, { minLength: 6, maxLength: 8 }).map((digits) => digits.join('')),
      separators: fc.array(fc.constantFrom('', '', ' ', '-', '.', '(', ') '), { minLength: 3, maxLength: 3 }),
      hasBrackets: fc.boolean(),
      country: fc.constantFrom('US', 'CA', 'AG', 'BS', 'DO', 'PR', 'GB', 'DE'),
    })
    fc.assert(
      fc.property(spelling, ({ code, area, rest, separators, hasBrackets, country }) => {
        const [first = '', second = '', third = ''] = separators
        const start = `${code}${first}${hasBrackets ? `(${area})` : area}`
        const number = `${start}${second}${rest.slice(0, 3)}${third}${rest.slice(3)}`
        const parsed = parsePhoneNumberFromString(number, country as CountryCode)
        expect(normalisePhone(number, country)).toBe(parsed?.isPossible() ? parsed.number : undefined)
      }),
      { numRuns: 5000 },
    )
  })

  it('in each country, a phone number without a country code gets the form that libphonenumber gives', () => {
    for (const country of getCountries()) {
      const parsed = parsePhoneNumberFromString('(415) 200-2671', country)
      expect(normalisePhone('(415) 200-2671', country)).toBe(parsed?.isPossible() ? parsed.number : undefined)
    }
  })
})

describe('an e-mail address', () => {
  it('capitals and outer white space of an e-mail address make no difference', () => {
    expect(normaliseEmail(' Ada.Byron@Example.COM\r\n')).toBe('ada.byron@example.com')
  })

  it('composed and decomposed letters of an e-mail address make no difference', () => {
    expect(normaliseEmail('RENE\u{301}E@example.com')).toBe(normaliseEmail('ren\u{e9}e@example.com'))
  })

  it('an e-mail address keeps its plus-tag and its dots: without them it may belong to another person', () => {
    expect(normaliseEmail('A.da+cars@example.com')).toBe('a.da+cars@example.com')
  })

  it('an empty text is not an e-mail address', () => {
    expect([normaliseEmail(''), normaliseEmail(' \t')]).toEqual([undefined, undefined])
  })
})

describe('a VIN', () => {
  it('small letters and white space of a VIN make no difference', () => {
    expect(normaliseVin(' 1gd 312cg\u{a0}0bf081737\t')).toBe('1GD312CG0BF081737')
  })

  it('an empty text is not a VIN', () => {
    expect([normaliseVin(''), normaliseVin(' ')]).toEqual([undefined, undefined])
  })
})

it('a second normalisation of an e-mail address or a VIN changes nothing', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      for (const normalise of [normaliseEmail, normaliseVin]) {
        const once = normalise(text)
        if (once !== undefined) expect(normalise(once)).toBe(once)
      }
    }),
  )
})
