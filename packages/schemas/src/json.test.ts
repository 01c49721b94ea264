import fc from 'fast-check'
import { expect, it, onTestFinished, vi } from 'vitest'
import { isRawNumber, mayRound, mayRoundWithin, parseJson } from './json.ts'

it.each([
  '12345678901234567890',
  '-0.12345678901234567890',
  '1e400',
  '1E-400',
  '123456789012345678901e3',
  '[1, 98765432109876543210 ]',
  '{"a":12345678901234567890}',
])('the numbers in %s keep all digits when JSON is parsed and written again', (text) => {
  expect(JSON.stringify(parseJson(text))).toBe(text.replaceAll(' ', ''))
})

it('the JSON parser keeps the text of a number that a double cannot hold', () => {
  const value = parseJson('12345678901234567890')
  expect(isRawNumber(value) && value.rawJSON).toBe('12345678901234567890')
})

it('the JSON parser returns plain numbers if a double holds them, even if the text also has a long number', () => {
  expect(parseJson('[1.5,1e3,123456789012345,12345678901234567890,1.10]')).toMatchObject([
    1.5,
    1000,
    123456789012345,
    {},
    1.1,
  ])
})

it('the JSON parser returns the same value as JSON.parse if a double holds every number', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = JSON.stringify(value)
      expect(JSON.stringify(parseJson(text))).toBe(text)
    }),
  )
})

it('a body whose hexadecimal ids look like long numbers is parsed only once', () => {
  const nested = `{"dealeruuid":"7c1e910a12345678901234567890","deep":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
  // A second parse would throw at this depth. No error occurs, so there was only one parse.
  expect(() => parseJson(nested)).not.toThrow()
})

it('the JSON parser keeps long numbers at any place, and changes no other text', () => {
  const long = '12345678901234567890'
  const texts = [
    `{"__proto__":${long},"a":{"__proto__":[-${long}]}}`,
    `{"a\\\\":"\\"${long}","b":[${long}e5,"\\\\",-1.${long}]}`,
    `["[${long},",${long},"\\u0022,${long}"]`,
  ]
  for (const text of texts) expect(JSON.parse(JSON.stringify(parseJson(text)))).toEqual(JSON.parse(text))
  for (const text of texts) expect(JSON.stringify(parseJson(text)).split(long)).toHaveLength(text.split(long).length)
})

it.each(['{12345678901234567890:1}', '[1.2.3.4.5.6.7.8.9.0]', '[12345678901234567890', '-12345678901234567890-'])(
  'the JSON parser refuses %s, which is not JSON',
  (text) => {
    expect(() => parseJson(text)).toThrow(SyntaxError)
  },
)

it('the JSON parser reads a long number without a reviver', () => {
  const parse = vi.spyOn(JSON, 'parse')
  onTestFinished(() => parse.mockRestore())
  parseJson('[12345678901234567890,1]')
  expect(parse.mock.calls.map(([, reviver]) => reviver)).toEqual([undefined, undefined])
})

it('the JSON parser reads sixteen megabytes of escapes', () => {
  const text = `[12345678901234567890,"${'\\"'.repeat(8 * 1024 * 1024)}"]`
  expect((parseJson(text) as unknown[])[1]).toHaveLength(8 * 1024 * 1024)
})

it('the search for long numbers also finds them in JSON inside a string, with any escapes', () => {
  const blank = fc.constantFrom('', ' ', '\n', '\t', '\r\n')
  const inner = fc
    .tuple(
      fc.constantFrom('[', '{"a":', '[1,', '{"a":-'),
      blank,
      fc.constantFrom('12345678901234567890', '1e400', '15'),
      fc.constantFrom('', '\u00e9'),
    )
    .map(([open, space, number, text]) => `${open}${space}${number}${open.startsWith('[') ? ']' : '}'}${text}`)
  const escapeAll = (text: string) =>
    [...text].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')
  fc.assert(
    fc.property(inner, fc.boolean(), (text, escaped) => {
      const outer = escaped ? `{"payload":"${escapeAll(text)}"}` : JSON.stringify({ payload: text })
      expect(mayRoundWithin(outer) || !mayRound(text)).toBe(true)
    }),
  )
})

it('the search for long numbers finds each number that a double cannot hold', () => {
  const behind = /(?:^|[[:,\s]|\\[nrt])-?(?:\d[\d.]{15,}|\d[\d.]*[eE][+-]?\d{3})/
  const piece = fc.constantFrom(
    ...'0123456789-+.eE"[{:, \n\t\\nrtab'.split(''),
    '123456',
    '123456789012345',
    'e40',
    'E-3',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const text = pieces.join('')
      expect(mayRound(text) || !behind.test(text)).toBe(true)
    }),
    { seed: 11, numRuns: 20_000 },
  )
})
