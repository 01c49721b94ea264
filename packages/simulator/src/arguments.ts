import type { CommandLine } from '@customer-stream/runtime/command-line'
import type { SimulationOptions } from './simulate.ts'

const USAGE = `Usage: npm run simulate -- --url URL --secret TEXT --token TEXT --events N --customers N [options]
Defaults are in parentheses.

  --url URL               where to POST, e.g. http://localhost:8080/webhooks/mykaarma
  --secret TEXT           signs the body: mykaarma-signature-token
  --token TEXT            sent as x-authorization-token
  --events N              number of distinct events
  --customers N           number of customers in these events
  --rate N                new events per second (0: no limit except --concurrency)
  --ledger FILE           append a JSON line for each 2xx answer (promise)
  --concurrency N         requests in flight (64)
  --repeats SHARE         share of the accepted events to send again later, 0 to 1 (0)
  --disorder SHARE        share of the events to send after a newer event of their customer (0)
  --drops SHARE           share of the requests to cut off before the answer is read (0)
  --other SHARE           share of the events that have another type than customers (0)
  --retry-base-ms N       mean wait before the first of five retries (1000)
  --seed N                the same seed makes the same events (random). If --newest-timestamp is also
                          the same, all bytes are the same
  --newest-timestamp MS   every event is older than this Unix time in milliseconds (now)
`

const OPTIONS = {
  url: 'url',
  secret: 'text',
  token: 'text',
  events: { from: 1, to: 1e9, whole: true },
  customers: { from: 1, to: 1e8, whole: true },
  rate: { from: 0, to: 1e6 },
  ledger: 'text',
  concurrency: { from: 1, to: 10_000, whole: true },
  repeats: { from: 0, to: 1 },
  disorder: { from: 0, to: 1 },
  drops: { from: 0, to: 1 },
  other: { from: 0, to: 1 },
  'retry-base-ms': { from: 0, to: 3_600_000 },
  seed: { from: 0, to: 2 ** 32 - 1, whole: true },
  'newest-timestamp': { from: 1e12, to: Number.MAX_SAFE_INTEGER, whole: true },
} as const satisfies Record<string, 'url' | 'text' | NumberRange>

const REQUIRED = ['url', 'secret', 'token', 'events', 'customers'] as const

interface NumberRange {
  readonly from: number
  readonly to: number
  readonly whole?: boolean
}

export const simulateCommandLine: CommandLine<SimulationOptions> = {
  name: 'simulate',
  usage: USAGE,
  options: Object.fromEntries(Object.keys(OPTIONS).map((name) => [name, 'text'])),
  read: ({ texts }, problems) => {
    for (const name of REQUIRED) if (!(name in texts)) problems.push(`--${name} is missing`)
    for (const [name, kind] of Object.entries(OPTIONS)) {
      const problem = texts[name] && problemOf(texts[name], kind)
      if (problem) problems.push(`--${name} ${problem}: "${texts[name]}"`)
    }
    return toOptions(texts)
  },
}

function problemOf(value: string, kind: 'url' | 'text' | NumberRange): string | undefined {
  if (kind === 'text') return undefined
  if (kind === 'url')
    return /^https?:$/.test(URL.parse(value)?.protocol ?? '') ? undefined : 'must be an http or https URL'
  const number = Number(value)
  const sound = number >= kind.from && number <= kind.to && (!kind.whole || Number.isInteger(number))
  return sound ? undefined : `must be a ${kind.whole ? 'whole ' : ''}number from ${kind.from} to ${kind.to}`
}

function toOptions(given: Readonly<Record<string, string>>): SimulationOptions {
  const optional = <Name extends keyof SimulationOptions>(name: Name, flag: string): { [Key in Name]?: number } =>
    (given[flag] === undefined ? {} : { [name]: Number(given[flag]) }) as { [Key in Name]?: number }
  return {
    url: given.url!,
    secret: given.secret!,
    token: given.token!,
    events: Number(given.events),
    customers: Number(given.customers),
    ...(given.ledger !== undefined && { ledgerPath: given.ledger }),
    ...optional('ratePerSecond', 'rate'),
    ...optional('concurrency', 'concurrency'),
    ...optional('repeats', 'repeats'),
    ...optional('disorder', 'disorder'),
    ...optional('drops', 'drops'),
    ...optional('other', 'other'),
    ...optional('retryBaseMs', 'retry-base-ms'),
    ...optional('seed', 'seed'),
    ...optional('newestTimestamp', 'newest-timestamp'),
  }
}
