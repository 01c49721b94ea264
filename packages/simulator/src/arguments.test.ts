import { parseCommandLine } from '@customer-stream/runtime/command-line'
import { expect, test } from 'vitest'
import { simulateCommandLine } from './arguments.ts'

const parseArguments = (args: readonly string[]) => parseCommandLine(simulateCommandLine, args)

const REQUIRED = [
  '--url',
  'http://localhost:8080/w',
  '--secret',
  's',
  '--token',
  't',
  '--events',
  '10',
  '--customers',
  '3',
]

test('the simulator accepts a command line with only the required arguments', () => {
  expect(parseArguments(REQUIRED)).toEqual({
    kind: 'run',
    read: { url: 'http://localhost:8080/w', secret: 's', token: 't', events: 10, customers: 3 },
  })
})

test('the simulator reads its optional arguments', () => {
  const parsed = parseArguments([
    ...REQUIRED,
    '--rate=50',
    '--drops',
    '0.02',
    '--ledger',
    'l.jsonl',
    '--retry-base-ms',
    '5',
    '--seed',
    '0',
  ])
  expect(parsed).toMatchObject({
    read: { ratePerSecond: 50, drops: 0.02, ledgerPath: 'l.jsonl', retryBaseMs: 5, seed: 0 },
  })
})

test('the simulator lists all wrong arguments together', () => {
  const parsed = parseArguments([
    '--evnts',
    '3',
    '--url',
    'ftp://x',
    '--events',
    '1.5',
    '--drops',
    '2',
    '--token',
    '--rate',
  ])
  expect(parsed).toEqual({
    kind: 'wrong',
    problems: [
      'unknown option --evnts; the nearest is --events',
      '--token needs a value',
      '--secret is missing',
      '--customers is missing',
      '--url must be an http or https URL: "ftp://x"',
      '--events must be a whole number from 1 to 1000000000: "1.5"',
      '--drops must be a number from 0 to 1: "2"',
    ],
  })
})

test('the simulator refuses a stray word and an option given twice', () => {
  expect(parseArguments([...REQUIRED, 'now', '--events', '3'])).toEqual({
    kind: 'wrong',
    problems: ['unexpected "now"', '--events is given twice'],
  })
})

test('the help is printed, even if other arguments are wrong', () => {
  expect(parseArguments(['--nonsense', '--help'])).toEqual({ kind: 'help' })
})
