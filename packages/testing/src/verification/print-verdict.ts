import type { Verdict } from './verify.ts'

const row = (label: string, value: number | string, mark = ''): string => `  ${label.padEnd(44)}${String(value).padStart(10)}  ${mark}`
const mark = (count: number): string => (count === 0 ? '✔' : '✘')

export const isSound = ({ missing, wrong }: Verdict): boolean => missing.length === 0 && wrong.length === 0

/** The verdict as a table; customers and events that are wrong are named by id, never by content. */
export const verdictLines = (verdict: Verdict): string[] => {
  const { promises, promisedEvents, missing, records, customers, wrong } = verdict
  return [
    ...(promises > 0
      ? [
          row('promises given (2xx answers)', promises),
          row('distinct events promised', promisedEvents),
          row('  of these missing in Kafka', missing.length, mark(missing.length)),
        ]
      : []),
    row('records in Kafka, customers', records.customers),
    ...(promises > 0 ? [row('records in Kafka, other types', records.other)] : []),
    row('customers compared, every field', customers),
    row('  of these wrong in Redis', wrong.length, mark(wrong.length)),
    ...missing.slice(0, 20).map(({ id, customerUuid }) => `  missing: event ${id} of customer ${customerUuid ?? '(none)'}`),
    ...wrong.slice(0, 20).map(({ customerUuid, reason }) => `  wrong: customer ${customerUuid} ${reason}`),
    ...(missing.length > 20 || wrong.length > 20 ? ['  … and more'] : []),
  ]
}
