/** `customer-stream quarantine drop`: marks records of quarantine as handled. */
import { openQuarantine, openWriter } from '@customer-stream/quarantine'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { interruption } from '../interruption.ts'
import { type KafkaClients, withKafka } from '../with-clients.ts'
import { handleRecords } from './handle.ts'
import { loadKafkaSettings } from './kafka-settings.ts'
import { OPTIONS } from './options.ts'
import { printOutcome } from './outcome.ts'
import { auditText, REQUEST_USAGE, readRequest } from './request.ts'
import { FILTER_USAGE, readSelection, SETTINGS_USAGE } from './selection.ts'

/**
 * Maximum number of audit entries per second. The entries are small, so no operator needs a lower
 * rate.
 */
const RATE = 100_000

const line = {
  name: 'quarantine drop',
  usage: `customer-stream quarantine drop PARTITION/OFFSET... [OPTIONS]
customer-stream quarantine drop FILTERS [OPTIONS]

  Marks the selected records as handled: quarantine list no longer shows
  them, and quarantine redrive skips them. Kafka keeps the records until the
  retention of quarantine has passed. Exit code 0 if all selected records are
  dropped, otherwise 1.
${FILTER_USAGE}
  --note TEXT           why, at most 1000 characters, without data of customers.
                        The audit keeps the text forever. --execute needs it
${REQUEST_USAGE}
${SETTINGS_USAGE}
  In this repository: npx customer-stream quarantine drop ...`,
  options: OPTIONS.drop,
  words: true,
  read: (given) => {
    if (given.words.length > 0 && given.texts.reason !== undefined)
      throw new Error('--reason selects records by their reason; give the text for the audit as --note')
    const chosen = {
      selection: readSelection(given),
      requestedBy: readRequest(given),
      note: auditText('note', given.texts.note),
      isJson: given.flags.has('json'),
    }
    if (chosen.requestedBy !== undefined && chosen.note === undefined)
      throw new Error('--note is missing: the audit needs a reason (--reason selects records)')
    return { ...chosen, settings: loadKafkaSettings() }
  },
} satisfies CommandLine<unknown>

type Input = ReturnType<typeof line.read>

const drop = async (clients: KafkaClients, input: Input): Promise<number> => {
  const { selection, requestedBy, note, isJson, settings } = input
  const { signal } = interruption
  const quarantine = await openQuarantine(clients.admin, settings.KAFKA_TOPIC_PREFIX, signal)
  const producer = requestedBy === undefined ? undefined : await openWriter(clients, settings, quarantine, [], signal)
  try {
    const outcome = await handleRecords(clients.admin, quarantine, {
      command: line.name,
      action: 'dropped',
      selection,
      decide: () => ({ send: undefined }),
      execute:
        producer && requestedBy !== undefined && note !== undefined
          ? { producer, requestedBy, note, rate: RATE }
          : undefined,
      isJson,
    })
    return printOutcome(outcome, isJson)
  } finally {
    await producer?.disconnect()
  }
}

export const run = (args: readonly string[]): Promise<number> => {
  const input = readCommandLine(line, args)
  return withKafka(line.name, input.settings, (clients) => drop(clients, input))
}
