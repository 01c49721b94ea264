/** `customer-stream quarantine show`: shows one record of quarantine. Read-only. */

import {
  type Action,
  type AuditEntry,
  contentTypeOf,
  explanationOf,
  keyTextOf,
  openQuarantine,
  placeOf,
  type QuarantinedRecord,
  readPlace,
  readQuarantine,
} from '@customer-stream/quarantine'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { attributed } from '@customer-stream/runtime/kafka'
import { readWords } from '../commands.ts'
import { interruption, printNotice } from '../interruption.ts'
import { printText } from '../output.ts'
import { jsonLine, printable, utc } from '../terminal-text.ts'
import { type KafkaClients, withKafka } from '../with-clients.ts'
import { escaped, hexLines, readText } from './bytes.ts'
import { loadKafkaSettings } from './kafka-settings.ts'
import { OPTIONS } from './options.ts'
import { SETTINGS_USAGE } from './selection.ts'

const line = {
  name: 'quarantine show',
  usage: `customer-stream quarantine show PARTITION/OFFSET [--json]

  Shows one record of quarantine: the reason, all headers, what operators did
  with the record, and its bytes. The bytes are data of a customer. Exit code 0
  if the record was shown, otherwise 1.
  --json                print one JSON object
${SETTINGS_USAGE}
  In this repository: npx customer-stream quarantine show PARTITION/OFFSET`,
  options: OPTIONS.show,
  words: true,
  read: ({ words, flags }) => {
    const [word] = readWords([[]], words, 'PARTITION/OFFSET')
    return { place: readPlace(word), isJson: flags.has('json'), settings: loadKafkaSettings() }
  },
} satisfies CommandLine<unknown>

type Input = ReturnType<typeof line.read>

const handledText = ({ action, at, requestedBy, note, sentTo }: AuditEntry): string =>
  `${action}${sentTo === undefined ? '' : ` to ${sentTo}`} at ${utc(at)} by ${requestedBy}` +
  `${note === undefined ? '' : `: ${note}`}`

/** @param action what operators did with this record or with another copy of the same original. */
const handledTexts = (entries: readonly AuditEntry[], action: Action | undefined): readonly string[] => {
  if (entries.length > 0) return entries.map(handledText)
  return [action === undefined ? 'no' : `another copy of the original was ${action}`]
}

const linesOf = (record: QuarantinedRecord, handled: readonly string[]): string[] => {
  const { receivedAt, reason, headers, value } = record
  const row = (name: string, content: string) => `  ${printable(name).padEnd(14)}${printable(content)}`
  const text = value === null ? undefined : readText(value, contentTypeOf(record))
  return [
    `quarantine ${placeOf(record)}`,
    row('received', utc(receivedAt)),
    row('problem', explanationOf(reason)),
    row('key', keyTextOf(record) ?? record.key?.toString('hex') ?? 'none'),
    ...Object.entries(headers).map(([name, header]) => row(name, header)),
    ...handled.map((each) => row('handled', each)),
    value === null ? 'no bytes' : `${value.length} bytes${text === undefined ? ', not valid text' : ''}:`,
  ]
}

const bytesOf = (record: QuarantinedRecord): string => {
  const { value } = record
  if (value === null) return ''
  const text = readText(value, contentTypeOf(record))
  return `${text === undefined ? [...hexLines(value)].join('\n') : escaped(text)}\n`
}

const jsonOf = (record: QuarantinedRecord, handled: readonly AuditEntry[]) => {
  const { receivedAt, reason, headers, key, value } = record
  const text = value === null ? undefined : readText(value, contentTypeOf(record))
  return {
    place: placeOf(record),
    receivedAt,
    reason,
    explanation: explanationOf(reason),
    key: keyTextOf(record) ?? null,
    ...(key !== null && keyTextOf(record) === undefined && { keyBase64: key.toString('base64') }),
    headers,
    handled,
    bytes: value?.length ?? null,
    ...(value !== null && (text === undefined ? { base64: value.toString('base64') } : { text })),
  }
}

const show = async ({ admin }: KafkaClients, { place, isJson, settings }: Input): Promise<number> => {
  const { signal } = interruption
  const entries: AuditEntry[] = []
  const onEntry = (entry: AuditEntry) => {
    if (placeOf(entry) === placeOf(place)) entries.push(entry)
  }
  const { topic, ends, audit } = await openQuarantine(admin, settings.KAFKA_TOPIC_PREFIX, signal, onEntry)
  const selection = { places: [place], filters: {}, limit: 1 }
  const onUnreadable = (_: unknown, why: string) => printNotice(`quarantine show: ${placeOf(place)}: ${why}`)
  return attributed(`read topic ${topic}`, async () => {
    for await (const record of readQuarantine(admin, { topic, ends, selection, signal, onUnreadable })) {
      if (isJson) process.stdout.write(jsonLine(jsonOf(record, entries)))
      else {
        printText(linesOf(record, handledTexts(entries, audit.actionFor(record))).join('\n'))
        process.stdout.write(bytesOf(record))
      }
      return 0
    }
    return 1
  })
}

export const run = (args: readonly string[]): Promise<number> => {
  const input = readCommandLine(line, args)
  return withKafka(line.name, input.settings, (clients) => show(clients, input))
}
