import type { Verdict } from './verify.ts'
import { MAX_NAMED } from './verify-options.ts'

const row = (label: string, value: number | string, note = ''): string =>
  `  ${label.padEnd(50)}${String(value).padStart(10)}  ${note}`
const mark = (count: number): string => (count === 0 ? '✔' : '✘')

const comparedNothing = ({ hasLedger, promises, customers }: Verdict): boolean =>
  customers === 0 || (hasLedger && promises === 0)

/**
 * Returns true if nothing is missing or wrong. Returns false if nothing was compared, because the
 * prefix, the time range or the file may be wrong. Also returns false if an open transaction hides
 * records.
 */
export const isSound = (verdict: Verdict): boolean =>
  verdict.missingCount + verdict.wrongCount + verdict.notQuarantined.count + verdict.openTransactions.length === 0 &&
  !comparedNothing(verdict)

/**
 * Formats an id for a terminal. The sender chooses ids, and an id must not send control codes to
 * the terminal. So an id that is not printable ASCII becomes a JSON string in ASCII.
 */
const plain = (id: string): string =>
  /^[ -~]*$/.test(id)
    ? id
    : JSON.stringify(id).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

const others = (count: number, named: number): string[] =>
  count > named ? [`  and ${count - named} more, not named here`] : []

/**
 * Returns the verdict as a table. Names wrong customers and missing events by id, never by content.
 */
export const verdictLines = (verdict: Verdict): string[] => {
  const { hasLedger, promises, promisedEvents, missing, missingCount, records, unusableByReason } = verdict
  const { notQuarantined, unreadable, openTransactions, customers, erased, newer, wrong, wrongCount } = verdict
  const reasons = Object.entries(unusableByReason).map(([reason, count]) => `${reason} ${count}`)
  const places = records.state === undefined ? 'in Redis' : 'in Redis or in the state topic'
  return [
    ...(hasLedger
      ? [
          row('promises given (2xx answers)', promises),
          row('distinct events promised', promisedEvents),
          row('  of these missing in Kafka', missingCount, mark(missingCount)),
        ]
      : []),
    row('records in Kafka, customers', records.customers),
    row('  of these unusable', records.unusable, reasons.join(', ')),
    row('  of these not in quarantine (dead-letter topic)', notQuarantined.count, mark(notQuarantined.count)),
    ...(hasLedger ? [row('records in Kafka, other types', records.other)] : []),
    row('records in quarantine', records.quarantined),
    ...(records.state === undefined ? [] : [row('records in the state topic', records.state)]),
    ...(records.erasures ? [row('records in the erasures topic', records.erasures)] : []),
    ...(records.indexEntries === undefined ? [] : [row('entries of the indexes compared', records.indexEntries)]),
    row('customers compared, every field', customers - newer - erased.selected),
    ...(newer > 0 ? [row('customers compared, version alone', newer)] : []),
    row(`  of these wrong ${places}`, wrongCount - erased.wrong, mark(wrongCount - erased.wrong)),
    ...(erased.all > 0
      ? [row('customers erased', erased.all), row(`  of these still ${places}`, erased.wrong, mark(erased.wrong))]
      : []),
    ...missing.map(
      ({ id, customerUuid }) => `  missing: event ${plain(id)} of customer ${plain(customerUuid ?? '(none)')}`,
    ),
    ...others(missingCount, missing.length),
    ...notQuarantined.places.map((place) => `  not in quarantine: record ${place}`),
    ...others(notQuarantined.count, notQuarantined.places.length),
    ...wrong.map(({ customerUuid, reason }) => `  wrong: customer ${plain(customerUuid)} ${reason}`),
    ...others(wrongCount, wrong.length),
    ...unreadable.places.map((place) => `  cannot be read: the batch of records at ${place}`),
    ...others(unreadable.count, unreadable.places.length),
    ...openTransactions.map(
      ({ topic, partition, offset, records: count }) =>
        `  open transaction: ${count} records of ${topic}/${partition} at and after offset ${offset} were not ` +
        'verified; end the transaction (kafka-transactions.sh find-hanging, abort) and verify again',
    ),
    ...(comparedNothing(verdict) ? ['  nothing was compared'] : []),
  ]
}

/** Explains the words of the table. */
export const VERDICT_LEGEND = [
  '  promise: an answer with 2xx. unusable: a record that can never be applied; quarantine keeps a copy with ' +
    'the reason.',
  '  version alone: the record of the hash arrived after the topic was read, so the fields could not be compared.',
  `  wrong: the stored data do not agree with the customer's newest event. The list names at most ${MAX_NAMED}.`,
]
