/**
 * Writes packages/schemas/conformance/normalise.json: the form in which an e-mail address, a phone
 * number or a VIN is indexed and looked up (`npm run docs`). A test fails when the file is stale.
 */
import { writeFileSync } from 'node:fs'
import { normaliseEmail, normalisePhone, normaliseVin } from '@customer-stream/indexes'

export const normalisationFile = new URL('../packages/schemas/conformance/normalise.json', import.meta.url)

/**
 * Phone numbers, by default country. The default country applies to a number without a country
 * code.
 */
const PHONES: Readonly<Record<string, readonly string[]>> = {
  US: [
    '(415) 200-2671',
    '415.200.2671',
    '4152002671',
    '1 415 200 2671',
    '+1 415 200 2671',
    ' +1 (415) 200-2671 ',
    '415-200-2671 ext. 12',
    '+1 415 200 2671 x12',
    'tel:+1-415-200-2671',
    'phone: 415 200 2671',
    '＋１ ４１５ ２００ ２６７１',
    '٤١٥٢٠٠٢٦٧١',
    '415\u{a0}200\u{2011}2671',
    '011 44 20 7946 0958',
    '+44 20 7946 0958',
    '+49 (0) 30 901820',
    '(999) 555-0123',
    '+19995550123',
    '000-000-0000',
    '200-2671',
    '12345',
    '+1 415 200 267100',
    '+999 123 456 789',
    'call me',
    '',
    '   ',
  ],
  GB: ['020 7946 0958', '(0)20 7946 0958', '00 1 415 200 2671', '+1 415 200 2671', '07400 123456'],
  DE: ['030 901820', '0049 30 901820', '01512 3456789', '030/90 18 20'],
}

// Use no letter whose lower case differs from its case folding (such as the German ß). Programming
// languages handle such letters in different ways.
const EMAILS: readonly string[] = [
  'ada@example.com',
  'Ada.Byron@Example.COM',
  ' ada@example.com\t',
  '\nada@example.com\r\n',
  'ada+cars@example.com',
  'A.D.A@example.com',
  'RENÉE@EXAMPLE.COM',
  'Rene\u{301}e@example.com',
  'REN\u{c9}E@example.com',
  'ЖЕНЯ@ПРИМЕР.РФ',
  'ada byron@example.com',
  '\u{a0}ada@example.com\u{a0}',
  '',
  ' \t',
]

const VINS: readonly string[] = [
  '1GD312CG0BF081737',
  '1gd312cg0bf081737',
  ' 1GD312CG0BF081737 ',
  '1GD 312CG 0BF 081737',
  '1gd\t312cg0bf081737',
  '1GD\u{a0}312CG0BF081737',
  '1GD-312CG0BF081737',
  '081737',
  '',
  ' ',
]

/** Returns the text of the file. `expect` is null if an input cannot be normalised. */
export const normalisationVectors = (): string => {
  const phones = Object.entries(PHONES).flatMap(([country, inputs]) =>
    inputs.map((input) => ({ kind: 'phone', country, input, expect: normalisePhone(input, country) ?? null })),
  )
  const emails = EMAILS.map((input) => ({ kind: 'email', input, expect: normaliseEmail(input) ?? null }))
  const vins = VINS.map((input) => ({ kind: 'vin', input, expect: normaliseVin(input) ?? null }))
  return `${JSON.stringify([...phones, ...emails, ...vins], null, 2)}\n`
}

if (import.meta.main) writeFileSync(normalisationFile, normalisationVectors())
