/**
 * `customer-stream quarantine redrive`: sends records to the raw topics again, by the rules of the
 * services.
 */

import { projectorSettings } from '@customer-stream/configuration'
import { openErasures, openQuarantine, openWriter, planRedrive } from '@customer-stream/quarantine'
import { loadSettings, unlessAborted } from '@customer-stream/runtime'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { kafkaRules, kafkaSettings } from '@customer-stream/runtime/kafka'
import { encodingOf, erasuresTopicName, topicNames } from '@customer-stream/schemas'
import { interruption, printNotice } from '../interruption.ts'
import { type KafkaClients, withKafka } from '../with-clients.ts'
import { handleRecords } from './handle.ts'
import { OPTIONS } from './options.ts'
import { printOutcome } from './outcome.ts'
import { REQUEST_USAGE, readRequest } from './request.ts'
import { FILTER_USAGE, numberOf, readSelection, SETTINGS_USAGE } from './selection.ts'

const DEFAULT_RATE = 500

/**
 * Returns the charset of the option --charset, or of the ingress' setting MYKAARMA_CHARSET if the
 * option is missing. Other settings of the ingress are not read, because they may be missing here.
 */
const charsetOf = (given: string | undefined): string | undefined => {
  const charset = given ?? process.env.MYKAARMA_CHARSET
  if (charset === undefined || charset === '') return undefined
  const encoding = encodingOf(charset)
  if (encoding === undefined)
    throw new Error(`--charset: ${JSON.stringify(charset)} is not a charset of the Encoding Standard`)
  return encoding
}

const line = {
  name: 'quarantine redrive',
  usage: `customer-stream quarantine redrive PARTITION/OFFSET... [OPTIONS]
customer-stream quarantine redrive FILTERS [OPTIONS]

  Sends the bytes of the selected records to the raw topics again, by the rules
  of the services and with the original time of receipt. Refuses a record that
  would come back to quarantine, and a record that names an erased customer.
  Skips records that were redriven or dropped before. To redrive a dropped
  record, name it as PARTITION/OFFSET. Run only one redrive at a time: two
  redrives send the same records twice. The projector ignores the second copy.
  Exit code 0 if no selected record was refused, otherwise 1.
${FILTER_USAGE}, without refused records
  --charset NAME        charset of bodies that are not UTF-8 and declare no
                        charset (default: MYKAARMA_CHARSET)
  --rate N              at most N records per second (default ${DEFAULT_RATE})
${REQUEST_USAGE}
${SETTINGS_USAGE}
  Set MAX_FUTURE_MS to the same value as for the projector.
  In this repository: npx customer-stream quarantine redrive ...`,
  options: OPTIONS.redrive,
  words: true,
  read: (given) => ({
    selection: readSelection(given),
    requestedBy: readRequest(given),
    rate: given.texts.rate === undefined ? DEFAULT_RATE : numberOf('rate', given.texts.rate, 1, 1_000_000),
    charset: charsetOf(given.texts.charset),
    isJson: given.flags.has('json'),
    settings: loadSettings(
      { ...kafkaSettings, MAX_FUTURE_MS: projectorSettings.MAX_FUTURE_MS },
      process.env,
      kafkaRules,
    ),
  }),
} satisfies CommandLine<unknown>

type Input = ReturnType<typeof line.read>

const redrive = async (clients: KafkaClients, input: Input): Promise<number> => {
  const { selection, requestedBy, rate, charset, isJson, settings } = input
  const { KAFKA_TOPIC_PREFIX: prefix, MAX_FUTURE_MS: maxFutureMs } = settings
  const { signal } = interruption
  const topics = topicNames(prefix)
  const { admin } = clients
  const quarantine = await openQuarantine(admin, prefix, signal)
  const erasures = settings.KAFKA_ERASURES_TOPIC
    ? await unlessAborted(openErasures(admin, erasuresTopicName(prefix), signal), signal)
    : undefined
  if (erasures === undefined)
    printNotice('quarantine redrive: KAFKA_ERASURES_TOPIC=false, so erased customers are not known')
  const producer =
    requestedBy === undefined
      ? undefined
      : await openWriter(clients, settings, quarantine, [topics.customers, topics.other], signal)
  const isNamed = selection.places !== undefined || selection.filters.reason !== undefined
  try {
    const outcome = await handleRecords(admin, quarantine, {
      command: line.name,
      action: 'redriven',
      selection,
      decide: (record) =>
        planRedrive(record, {
          topics,
          maxFutureMs,
          fallbackEncoding: charset,
          erasureOf: (customerUuid) => erasures?.of(customerUuid),
          isNamed,
        }),
      refresh: erasures?.refresh,
      execute: producer && requestedBy !== undefined ? { producer, requestedBy, rate } : undefined,
      isJson,
    })
    return printOutcome(outcome, isJson)
  } finally {
    await producer?.disconnect()
  }
}

export const run = (args: readonly string[]): Promise<number> => {
  const input = readCommandLine(line, args)
  return withKafka(line.name, input.settings, (clients) => redrive(clients, input))
}
