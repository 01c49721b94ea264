import { number } from '@customer-stream/cli/layout'
import type { CommandLine } from '@customer-stream/runtime/command-line'

const DEFAULT_EVENTS = 20_000
const MIN_EVENTS = 100

export interface DemoOptions {
  readonly keep: boolean
  /** Opens the console in a browser. */
  readonly open: boolean
  readonly faults: boolean
  readonly events: number
}

export const demoCommandLine: CommandLine<DemoOptions> = {
  name: 'demo',
  usage: `npm run demo -- [--keep] [--open] [--no-faults] [--events N]

  Starts three Kafka brokers, Redis, an ingress, a projector and a reader. Sends events, kills Kafka's leader, the
  ingress and Redis under load, and checks that every promise was kept. Takes about a minute.
  Exit code 0 only if nothing is missing or wrong, and if all numbers add up.

  --keep       leaves everything running at the end, and prints commands for a closer look;
               Ctrl-C ends it
  --open       as --keep, and opens the console in a browser
  --no-faults  kills nothing
  --events N   number of events, ${MIN_EVENTS} or more (${number(DEFAULT_EVENTS)})

  Ctrl-C stops and removes everything; a second Ctrl-C ends immediately.
  CUSTOMER_STREAM_BROKERS=docker or local chooses where the brokers run. If KAFKA_BROKERS and REDIS_URL name brokers
  and a Redis that already run, the demo uses them, and kills only the ingress.`,
  options: { keep: 'flag', open: 'flag', 'no-faults': 'flag', events: 'text' },
  read: ({ flags, texts }) => {
    const { events = String(DEFAULT_EVENTS) } = texts
    if (!/^[1-9]\d{2,8}$/.test(events)) throw new Error(`--events must be a whole number, at least ${MIN_EVENTS}`)
    const open = flags.has('open')
    return { keep: open || flags.has('keep'), open, faults: !flags.has('no-faults'), events: Number(events) }
  },
}
