/** `customer-stream quarantine list`: lists the records in quarantine. Read-only. */

import {
  type Action,
  createCopies,
  keyTextOf,
  openQuarantine,
  type Place,
  placeOf,
  type QuarantinedRecord,
  readQuarantine,
} from '@customer-stream/quarantine'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { attributed } from '@customer-stream/runtime/kafka'
import { interruption, printNotice } from '../interruption.ts'
import { drained, printText } from '../output.ts'
import { counted, jsonLine, printable, shortened, utc } from '../terminal-text.ts'
import { type KafkaClients, withKafka } from '../with-clients.ts'
import { loadKafkaSettings } from './kafka-settings.ts'
import { createNewest } from './newest.ts'
import { OPTIONS } from './options.ts'
import { createReadNotice } from './progress.ts'
import { FILTER_USAGE, readFilters, SETTINGS_USAGE } from './selection.ts'
import { createSummary, idText, reasonText, summaryLines } from './summary.ts'

const line = {
  name: 'quarantine list',
  usage: `customer-stream quarantine list [--reason REASON] [--since TIME] [--until TIME]
                      [--customer ID] [--limit N] [--all] [--json]

  Lists the records in quarantine (the dead-letter topic), the newest last.
  Each line has the place, the time of receipt, the reason, the service, the
  place of the original, the id and the number of bytes. Then counts the
  selected open records by reason, and the handled records. Shows ids, but no
  other data of customers. Exit code 0 if all records could be read, otherwise
  1.
${FILTER_USAGE}, the newest;
                        0 shows only the counts
  --all                 also list records that were redriven or dropped, and
                        further copies of a record
  --json                print one JSON object for each record, the counts last
${SETTINGS_USAGE}
  In this repository: npx customer-stream quarantine list [OPTIONS]`,
  options: OPTIONS.list,
  read: ({ texts, flags }) => ({
    ...readFilters(texts),
    isAll: flags.has('all'),
    isJson: flags.has('json'),
    settings: loadKafkaSettings(),
  }),
} satisfies CommandLine<unknown>

type Input = ReturnType<typeof line.read>

/** Remarks of `list` about a record, in addition to its headers. */
interface Remarks {
  readonly action: Action | undefined
  /** Place of an earlier copy of the same original. */
  readonly copyOf: string | undefined
}

const lineOf = (record: QuarantinedRecord, { action, copyOf }: Remarks): string => {
  const { receivedAt, reason, stage, source, value } = record
  const id = keyTextOf(record)
  return [
    placeOf(record).padEnd(10),
    utc(receivedAt),
    reasonText(reason).padEnd(22),
    printable(shortened(stage || '-', 20)),
    source === undefined ? '-' : printable(shortened(source, 300)),
    id === undefined ? '-' : idText(id),
    value === null ? 'no bytes' : counted(value.length, 'byte'),
    ...(copyOf === undefined ? [] : [`copy of ${copyOf}`]),
    ...(action === undefined ? [] : [action]),
  ].join('  ')
}

const jsonOf = (record: QuarantinedRecord, { action, copyOf }: Remarks): string => {
  const { receivedAt, reason, stage, source, value } = record
  return jsonLine({
    place: placeOf(record),
    receivedAt,
    reason,
    stage,
    source: source ?? null,
    id: keyTextOf(record) ?? null,
    bytes: value?.length ?? null,
    handled: action ?? null,
    ...(copyOf !== undefined && { copyOf }),
  })
}

const list = async ({ admin }: KafkaClients, input: Input): Promise<number> => {
  const { filters, limit, isAll, isJson, settings } = input
  const { signal } = interruption
  const { topic, ends, audit } = await openQuarantine(admin, settings.KAFKA_TOPIC_PREFIX, signal)
  const summary = createSummary()
  const copies = createCopies()
  const newest = createNewest<string>(limit)
  let unreadable = 0
  const onUnreadable = (place: Place, why: string) => {
    unreadable += 1
    printNotice(`quarantine list: ${placeOf(place)}: ${why}`)
  }
  const onProgress = createReadNotice(line.name)
  const selection = { places: undefined, filters, limit }
  await attributed(`read topic ${topic}`, async () => {
    const records = readQuarantine(admin, { topic, ends, selection, signal, onUnreadable, onProgress })
    for await (const record of records) {
      const action = audit.actionFor(record)
      const copyOf = copies.earlierOf(record)
      summary.count(record.reason, action, copyOf !== undefined)
      if ((action ?? copyOf) === undefined || isAll)
        newest.add(record.receivedAt, (isJson ? jsonOf : lineOf)(record, { action, copyOf }))
    }
  })
  for (const text of newest.inOrder()) {
    if (isJson) process.stdout.write(text)
    else printText(text)
    await drained()
  }
  const counts = summary.get()
  if (isJson) process.stdout.write(jsonLine({ summary: counts }))
  else printText(summaryLines(counts, isAll).join('\n'))
  return unreadable === 0 ? 0 : 1
}

export const run = (args: readonly string[]): Promise<number> => {
  const input = readCommandLine(line, args)
  return withKafka(line.name, input.settings, (clients) => list(clients, input))
}
