import { expect, it } from 'vitest'
import { historyLines, shownLines } from './print-customer.ts'
import type { ShownCustomer } from './shown-customer.ts'

const ESCAPE = '\u001b]0;owned\u0007'
const shown: ShownCustomer = {
  customerUuid: `ada${ESCAPE}`,
  isKnown: true,
  isSound: true,
  key: 'mykaarma:customer:{ada}',
  hash: {
    _projection: '1',
    _receivedAt: '0',
    _appliedAt: '0',
    [`__mine${ESCAPE}`]: 'x',
    notes: 'a\nb'.repeat(200),
    firstName: `Ada${ESCAPE}`,
  },
  version: { timestamp: 0, id: `e${ESCAPE}` },
  source: { place: 'raw/3/7', isInKafka: false },
  erased: null,
  state: { place: 'state/3/1', kind: 'document', version: null, agreement: 'differs', fields: [`x${ESCAPE}`] },
}

it('control characters in customer data cannot control the terminal', () => {
  const all = shownLines(shown).join('')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to find
  expect(all).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
  expect(all).toContain('firstName                Ada\\u{1b}]0;owned\\u{7}')
  expect(all).toContain('… (600 characters)')
})

it('customer show explains the metadata, and does not list them again as fields', () => {
  const lines = shownLines(shown)
  expect(lines).toContain('  source     raw/3/7, received 1970-01-01 00:00:00 UTC; Kafka no longer has this record')
  expect(lines.join('\n')).not.toContain('_projection')
  expect(lines.join('\n')).toContain('__mine')
})

it.each([
  ['["dealer:d","phone:+14152002671"]', 'dealer:d, phone:+14152002671'],
  ['?["dealer:d"]\n', 'none: no index has the customer; the projector is updating the indexes'],
  ['damaged', 'cannot be read. Run customer-stream verify --indexes'],
])('customer show lists the terms of the field _index %s', (index, text) => {
  const lines = shownLines({ ...shown, hash: { ...shown.hash, _index: index } })
  expect(lines).toContain(`  terms      ${text}`)
})

it('customer show warns of an erased customer who still has a hash', () => {
  const lines = shownLines({ ...shown, erased: { scope: 'forever', erasedAt: 0 } })
  expect(lines.join('\n')).toContain('erased     at 1970-01-01 00:00:00 UTC, scope forever; but Redis has the hash')
})

it('customer history prints each event as one line, without control characters from its id', () => {
  const lines = historyLines({
    customerUuid: 'ada',
    topic: 't',
    partitions: [
      { partition: 3, deletedBefore: '5' },
      { partition: 2, deletedBefore: null },
    ],
    events: [
      {
        place: 't/3/7',
        receivedAt: 0,
        version: { timestamp: 1000, id: `e\n${ESCAPE}` },
        outcome: 'older',
        isInRedis: true,
      },
    ],
    leftOut: 2,
    unreadable: 0,
    isHashListed: false,
    hashPlace: 't/1/9',
    erased: null,
  })
  expect(lines).toEqual([
    'customer ada: 1 event in partitions 3, 2 of t',
    '2 older events left out (--limit)',
    'Kafka has deleted the records before offset 5 of partition 3',
    'The hash comes from t/1/9. Events in that partition are not listed.',
    '',
    'received (UTC)          version (UTC)           place         outcome, id',
    '1970-01-01 00:00:00.000 1970-01-01 00:00:01.000 3/7           older, ignored  ◀ in Redis' +
      '  e\\u{a}\\u{1b}]0;owned\\u{7}',
    '',
    'The hash in Redis comes from a record that is not in this list.',
  ])
})
