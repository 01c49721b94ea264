import { hash } from 'node:crypto'
import type { Screen } from '@customer-stream/cli/screen'
import { unlessAborted, waitUntil } from '@customer-stream/runtime'
import { customerKey } from '@customer-stream/schemas'
import { type MadeEvent, makeCustomersEvent, openLedger } from '@customer-stream/simulator'
import type { Pipeline } from '@customer-stream/testing'
import { outcomesOf } from './measure.ts'
import type { Services } from './services.ts'
import type { Outcomes } from './sums.ts'

const AN_HOUR_MS = 3_600_000
/** The customer's phone number in each event. The simulator makes no number with this area code. */
export const PHONE = '+1 (415) 555-0123'
const SHOWN_FIELDS = ['_eventTimestamp', '_eventId', '_source', 'firstName', 'lastName']

export interface OneCustomer {
  readonly customerUuid: string
  /** Number of posted events, each answered with 202. */
  readonly posted: number
  /** True if the late event was ignored. */
  readonly isSound: boolean
}

interface SentEvent {
  readonly made: MadeEvent
  readonly lastName: string
  readonly outcome: string
}

const WORDS: Readonly<Record<keyof Outcomes, string>> = {
  applied: 'newest: in Redis',
  stale: 'late: ignored',
  duplicate: 'repeat: ignored',
  quarantined: 'unusable',
}

/** Returns the outcome whose counter grew between two measurements. */
export const outcomeBetween = (before: Outcomes, after: Outcomes): keyof Outcomes | undefined =>
  (Object.keys(WORDS) as (keyof Outcomes)[]).find((outcome) => after[outcome] > before[outcome])

export const eventRows = (sent: readonly SentEvent[]): string[] => [
  '  sent  version (time and id)   lastName  outcome',
  ...sent.map(({ made, lastName, outcome }, i) =>
    [
      `  ${`${i + 1}.`.padEnd(4)}`,
      new Date(made.timestamp).toISOString().slice(11, 23),
      made.id.slice(0, 8),
      lastName.padEnd(8),
      outcome,
    ].join('  '),
  ),
]

/**
 * Sends three events of one customer. The third event is older than the second event. Kafka stores
 * the third event, but Redis keeps the second.
 */
export const showOneCustomer = async (
  screen: Screen,
  pipeline: Pipeline,
  services: Services,
  ledgerPath: string,
  signal: AbortSignal,
): Promise<OneCustomer> => {
  const now = Date.now()
  const { customerUuid } = makeCustomersEvent()
  const key = customerKey(customerUuid, pipeline.keyPrefix)
  const ledger = openLedger(ledgerPath)
  const post = async (lastName: string, timestamp: number): Promise<SentEvent> => {
    const customer = { firstName: 'Ada', lastName, phoneNumbers: [{ phoneNumber: PHONE, label: 'cell' }] }
    const made = makeCustomersEvent({ customerUuid, timestamp, customer })
    const before = await outcomesOf(services.projector)
    const { status } = await pipeline.post(services.ingress(), made.body)
    if (status !== 202) throw new Error(`the ingress answered ${status} to an event of one customer`)
    const { id, type, body } = made
    const promisedAt = Date.now()
    ledger.append({ id, timestamp, type, customerUuid, sha256: hash('sha256', body), promisedAt, attempt: 1, status })
    const outcome = await waitUntil(
      'the event is read',
      async () => outcomeBetween(before, await outcomesOf(services.projector)),
      (found) => found !== undefined,
    )
    return { made, lastName, outcome: WORDS[outcome!] }
  }
  const sendAll = async () => [
    await post('Byron', now - 2 * AN_HOUR_MS),
    await post('Lovelace', now),
    await post('King', now - AN_HOUR_MS),
  ]
  try {
    const sent = await screen.during(
      'customer',
      'sending three events of one customer',
      () => unlessAborted(sendAll(), signal),
      () => 'three events of one customer, and the third is late',
    )
    screen.print(eventRows(sent).join('\n'))
    const fields = await unlessAborted(pipeline.redis.hgetall(key), signal)
    const others = Object.keys(fields).length - SHOWN_FIELDS.length
    screen.print(`  hash ${key}`)
    for (const field of SHOWN_FIELDS) screen.print(`    ${field.padEnd(17)}${fields[field]}`)
    screen.print(`    and ${others} more fields`)
    const isSound = fields.lastName === 'Lovelace' && fields._eventId === sent[1]!.made.id
    return { customerUuid, posted: sent.length, isSound }
  } finally {
    ledger.close()
  }
}
