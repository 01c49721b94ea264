import type { Verdict } from './verify.ts'

const row = (label: string, value: number | string, mark = ''): string => `  ${label.padEnd(44)}${String(value).padStart(10)}  ${mark}`
const mark = (count: number): string => (count === 0 ? '✔' : '✘')

const comparedNothing = ({ hasLedger, promises, customers }: Verdict): boolean => customers === 0 || (hasLedger && promises === 0)

/** A verdict on nothing is not sound: it would hide a wrong prefix, range or file. */
export const isSound = (verdict: Verdict): boolean =>
  verdict.missing.length === 0 && verdict.wrong.length === 0 && !comparedNothing(verdict)

/** Ids are the sender's to choose: what is not plain text is shown as a JSON string in ASCII, so that it can do nothing to a terminal. */
const plain = (id: string): string =>
  /^[ -~]*$/.test(id) ? id : JSON.stringify(id).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** The verdict as a table; customers and events that are wrong are named by id, never by content. */
export const verdictLines = (verdict: Verdict): string[] => {
  const { hasLedger, promises, promisedEvents, missing, records, customers, newer, wrong } = verdict
  return [
    ...(hasLedger
      ? [
          row('promises given (2xx answers)', promises),
          row('distinct events promised', promisedEvents),
          row('  of these missing in Kafka', missing.length, mark(missing.length)),
        ]
      : []),
    row('records in Kafka, customers', records.customers),
    ...(hasLedger ? [row('records in Kafka, other types', records.other)] : []),
    row('customers compared, every field', customers - newer),
    ...(newer > 0 ? [row('customers compared, version alone', newer)] : []),
    row('  of these wrong in Redis', wrong.length, mark(wrong.length)),
    ...missing.map(({ id, customerUuid }) => `  missing: event ${plain(id)} of customer ${plain(customerUuid ?? '(none)')}`),
    ...wrong.map(({ customerUuid, reason }) => `  wrong: customer ${plain(customerUuid)} ${reason}`),
    ...(comparedNothing(verdict) ? ['  nothing was compared'] : []),
  ]
}
