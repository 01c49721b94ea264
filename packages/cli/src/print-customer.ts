/**
 * Prints one customer, or the customer's events. Escapes all text of a customer, so that it cannot
 * control the terminal.
 */
import { currentTerms, isErased, isPending } from '@customer-stream/schemas'
import type { HistoryEvent } from './customer-history.ts'
import type { Agreement, Erased, ShownCustomer, ShownState } from './shown-customer.ts'
import { counted, exactTime, printable, shortened, utc } from './terminal-text.ts'

const MOST_CHARACTERS = 200

const AGREEMENTS: Readonly<Record<Agreement, string>> = {
  equal: 'equals the hash',
  differs: 'differs from the hash in',
  older: 'is older than the hash. Check the lag, and run customer-stream verify --state',
  newer: 'is newer than the hash. Run customer-stream verify --state',
  missing: 'Redis has a hash, and the state topic has no document. Run customer-stream verify --state',
  'no-hash': 'Redis has no hash for this document. Check the lag, and run customer-stream verify --state',
}

const erasedText = (erased: Erased | null): string =>
  erased === null ? 'no' : `at ${utc(erased.erasedAt)}, scope ${erased.scope}`

/** Returns the values with which the indexes find the customer. */
const termsText = (index: string | undefined): string => {
  try {
    const terms = currentTerms(index)
    const shown = terms.length === 0 ? 'none: no index has the customer' : shortened(terms.join(', '), MOST_CHARACTERS)
    return `${shown}${isPending(index) ? '; the projector is updating the indexes' : ''}`
  } catch {
    return 'cannot be read. Run customer-stream verify --indexes'
  }
}

const stateLine = (state: ShownState | null): string => {
  if (state === null) return 'switched off (KAFKA_STATE_TOPIC=false)'
  const { place, kind, agreement, fields } = state
  const what = {
    document: `${place}`,
    tombstone: `${place} is a tombstone: the customer was erased`,
    unusable: `${place} is not a state document`,
    none: 'no record of this customer',
  }[kind]
  if (agreement === null) return what
  return `${what}: ${AGREEMENTS[agreement]}${agreement === 'differs' ? ` ${fields.join(', ')}` : ''}`
}

/** Returns the lines about one customer, most important first. */
export const shownLines = (shown: ShownCustomer): string[] => {
  const { customerUuid, key, hash, version, source, erased, state } = shown
  const isErasedHash = erased !== null && version !== null && isErased(erased, version)
  const line = (name: string, text: string) => `  ${name.padEnd(11)}${text}`
  const about =
    hash === null
      ? [line('Redis', 'has no hash of this customer')]
      : [
          line('Redis', `${key}, projection ${hash._projection ?? 'unknown'}`),
          line(
            'version',
            version === null ? 'unknown' : `${utc(version.timestamp)} ${version.timestamp} ${version.id}`,
          ),
          line(
            'source',
            `${source?.place ?? 'unknown'}, received ${utc(Number(hash._receivedAt))}` +
              (source?.isInKafka ? '' : '; Kafka no longer has this record'),
          ),
          line('applied', utc(Number(hash._appliedAt))),
          line('terms', termsText(hash._index)),
        ]
  const fields = Object.entries(hash ?? {})
    .filter(([field]) => !/^_[^_]/.test(field))
    .sort(([a], [b]) => (a < b ? -1 : 1))
  const lines = [
    `customer ${customerUuid}`,
    ...about,
    line(
      'erased',
      `${erasedText(erased)}${isErasedHash ? '; but Redis has the hash: run customer-stream verify' : ''}`,
    ),
    line('state', stateLine(state)),
    ...(fields.length > 0 ? [''] : []),
    ...fields.map(([field, value]) => `  ${field.padEnd(24)} ${shortened(value, MOST_CHARACTERS)}`),
  ]
  return lines.map(printable)
}

export interface ReadPartition {
  readonly partition: number
  /** Oldest offset of the partition, if Kafka has deleted older records. */
  readonly deletedBefore: string | null
}

/** Events of one customer. */
export interface CustomerHistory {
  readonly customerUuid: string
  readonly topic: string
  /** The partitions that were read, the customer's own partition first. */
  readonly partitions: readonly ReadPartition[]
  readonly events: readonly HistoryEvent[]
  /** Number of older events that the limit left out. */
  readonly leftOut: number
  /** Batches of records that cannot be read. */
  readonly unreadable: number
  /** True if the hash in Redis comes from a listed event. Null if Redis has no hash. */
  readonly isHashListed: boolean | null
  /** Place of the record from which the hash comes. Null if Redis has no hash. */
  readonly hashPlace: string | null
  readonly erased: Erased | null
}

const OUTCOMES: Readonly<Record<HistoryEvent['outcome'], string>> = {
  applied: 'applied',
  older: 'older, ignored',
  repeat: 'repeat, ignored',
  quarantined: 'quarantined',
  unusable: 'unusable, not in quarantine',
  erased: 'erased',
  waiting: 'not applied yet',
}

export const partitionsText = (partitions: readonly { readonly partition: number }[]): string =>
  `${partitions.length === 1 ? 'partition' : 'partitions'} ${partitions.map(({ partition }) => partition).join(', ')}`

export const historyLines = (history: CustomerHistory): string[] => {
  const { customerUuid, topic, partitions, events, leftOut, unreadable, isHashListed, erased } = history
  const isElsewhere = partitions.every(
    ({ partition }) => history.hashPlace?.startsWith(`${topic}/${partition}/`) === false,
  )
  const lines = [
    `customer ${customerUuid}: ${counted(events.length, 'event')} in ${partitionsText(partitions)} of ${topic}`,
    ...(erased === null ? [] : [`erased ${erasedText(erased)}`]),
    ...(leftOut > 0 ? [`${counted(leftOut, 'older event')} left out (--limit)`] : []),
    ...partitions.flatMap(({ partition, deletedBefore }) =>
      deletedBefore === null
        ? []
        : [`Kafka has deleted the records before offset ${deletedBefore} of partition ${partition}`],
    ),
    ...(isElsewhere ? [`The hash comes from ${history.hashPlace}. Events in that partition are not listed.`] : []),
    ...(unreadable > 0 ? [`${counted(unreadable, 'batch', 'batches')} of records cannot be read`] : []),
    '',
    `${'received (UTC)'.padEnd(24)}${'version (UTC)'.padEnd(24)}${'place'.padEnd(14)}outcome, id`,
    ...events.map(({ receivedAt, version, place, outcome, reason, copy, isInRedis }) => {
      const short = place.startsWith(`${topic}/`) ? place.slice(topic.length + 1) : place
      const why = [reason, copy && `copy ${copy}`].filter((text) => text !== undefined).join(', ')
      const what = `${OUTCOMES[outcome]}${why === '' ? '' : `: ${why}`}${isInRedis ? '  ◀ in Redis' : ''}`
      const time = version === null ? 'none' : exactTime(version.timestamp)
      const columns = [
        exactTime(receivedAt).padEnd(23),
        time.padEnd(23),
        short.padEnd(13),
        what,
        ` ${version?.id ?? ''}`,
      ]
      return columns.join(' ').trimEnd()
    }),
    ...(isHashListed === false ? ['', 'The hash in Redis comes from a record that is not in this list.'] : []),
  ]
  return lines.map(printable)
}
