/**
 * `customer-stream verify`: compares Kafka with Redis. With a ledger, also checks that Kafka has
 * each event that the ingress acknowledged. Only `--repair --execute` changes something. Exit code
 * 1 if anything is missing or wrong.
 */

import { accessSync, constants } from 'node:fs'
import { unlessAborted } from '@customer-stream/runtime'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { requireReadable } from '@customer-stream/runtime/kafka'
import { erasuresTopicName, stateTopicName, topicNames } from '@customer-stream/schemas'
import {
  isSound,
  planRepair,
  quarantineReachesBackTo,
  type RepairedPartition,
  repair,
  requireMarks,
  requirePositions,
  requireScan,
  VERDICT_LEGEND,
  type Verdict,
  type VerifyOptions,
  verdictLines,
  verify,
} from '@customer-stream/verify'
import { COMMANDS } from './commands.ts'
import { interruption, printNotice } from './interruption.ts'
import { printText } from './output.ts'
import { repairLines, repairSummary } from './print-repair.ts'
import { jsonLine } from './terminal-text.ts'
import { type Clients, loadClientSettings, withClients } from './with-clients.ts'

const USAGE = `customer-stream verify [--state] [--indexes] [--since TIME] [--until TIME]
                       [--sample SHARE]
customer-stream verify [--state] [--indexes] --ledger FILE
customer-stream verify [--state] [--indexes] --repair [--execute]

  Compares each customer in Redis with the customer's newest event in Kafka.
  Without --repair --execute the command changes nothing.
  --state                also compare the state topic
  --indexes              also compare the indexes in Redis with all customers
  --ledger FILE          also check that Kafka has every event for which
                         \`npm run simulate\` got a 202
  --since TIME           compare only customers with an event received at this
                         time or later, for example 2026-11-24T06:00:00Z
  --until TIME           compare only customers with an event received before
                         this time. With --since, one event must meet both
  --sample SHARE         compare only this share of the customers, e.g. 0.01
  --repair               show which wrong customers can be repaired, and how
                         many records the projector must apply again
  --execute              with --repair: repair these customers, then verify
                         again
  --catch-up-seconds N   maximum wait for open transactions, and until the
                         projector has applied all records (default 60)
  --json                 print one JSON object
  Exit code 0 if no problem was found, otherwise 1.
  The settings of the services (KAFKA_BROKERS, REDIS_URL and others) are read
  from the environment.
  In this repository: npm run verify -- [OPTIONS]`

const requireFile = (ledger: string): void => {
  try {
    accessSync(ledger, constants.R_OK)
  } catch (error) {
    throw new Error(`--ledger cannot be read: ${(error as Error).message}`)
  }
}

const line = {
  name: 'verify',
  usage: USAGE,
  options: COMMANDS.verify.options,
  read: ({ texts, flags }) => {
    const { ledger, since, until, sample, 'catch-up-seconds': catchUp = '60' } = texts
    const number = (name: string, text: string, most: number) => {
      const value = text.trim() === '' ? Number.NaN : Number(text)
      if (!(value >= 0 && value <= most)) throw new Error(`--${name} must be a number from 0 to ${most}`)
      return value
    }
    const time = (name: string, text: string) => {
      const value = Date.parse(text)
      if (Number.isNaN(value)) throw new Error(`--${name} is not a valid time: ${text}`)
      return value
    }
    // A ledger has all acknowledged events, so verify must read the whole topic.
    if (ledger !== undefined && (since ?? until ?? sample) !== undefined)
      throw new Error('--ledger cannot be used together with --since, --until or --sample')
    if (ledger !== undefined) requireFile(ledger)
    if (flags.has('execute') && !flags.has('repair')) throw new Error('--execute needs --repair')
    const range = {
      catchUpMs: number('catch-up-seconds', catchUp, 86_400) * 1000,
      ...(ledger !== undefined && { ledgerPath: ledger }),
      ...(since !== undefined && { sinceMs: time('since', since) }),
      ...(until !== undefined && { untilMs: time('until', until) }),
      ...(sample !== undefined && { sample: number('sample', sample, 1) }),
    }
    if (range.sample === 0) throw new Error('--sample 0 leaves nothing to compare')
    if (range.sinceMs !== undefined && range.untilMs !== undefined && range.untilMs <= range.sinceMs)
      throw new Error('--until must be after --since')
    return {
      isStateAsked: flags.has('state'),
      withIndexes: flags.has('indexes'),
      isRepair: flags.has('repair'),
      isExecuted: flags.has('execute'),
      isJson: flags.has('json'),
      range,
      settings: loadClientSettings(),
    }
  },
} satisfies CommandLine<unknown>

type Input = ReturnType<typeof line.read>

const { signal } = interruption

/** Prints the verdict and the plan of a repair. Returns the exit code. */
const report = (isJson: boolean, verdict: Verdict, plan?: readonly RepairedPartition[]): number => {
  const { repairable, ...counts } = verdict
  const planned = plan && {
    customers: repairable.length,
    partitions: plan.map((each) => ({ ...each, from: String(each.from) })),
  }
  const lines = [...verdictLines(verdict), '', ...VERDICT_LEGEND, ...(plan ? ['', ...repairLines(verdict, plan)] : [])]
  if (isJson)
    process.stdout.write(jsonLine({ sound: isSound(verdict), ...counts, ...(planned && { repair: planned }) }))
  else printText(lines.join('\n'))
  return isSound(verdict) ? 0 : 1
}

/**
 * Rejects if a right is missing, or if the prefix of the topics or of the keys is wrong. Returns
 * the options of the comparison.
 */
const prepare = async ({ admin, redis }: Clients, input: Input): Promise<VerifyOptions> => {
  const { isStateAsked, withIndexes, range, settings } = input
  const { REDIS_KEY_PREFIX: keyPrefix, PROJECTION_VERSION: projection, MAX_FUTURE_MS: maxFutureMs } = settings
  const prefix = settings.KAFKA_TOPIC_PREFIX
  const topics = topicNames(prefix)
  const stateTopic = isStateAsked ? stateTopicName(prefix) : undefined
  const erasuresTopic = settings.KAFKA_ERASURES_TOPIC ? erasuresTopicName(prefix) : undefined
  await unlessAborted(requirePositions(redis, projection, keyPrefix), signal)
  if (erasuresTopic !== undefined) await unlessAborted(requireMarks(redis, keyPrefix), signal)
  if (stateTopic !== undefined) await unlessAborted(requireScan(redis), signal)
  const read = [topics.customers, topics.quarantine]
  if (range.ledgerPath !== undefined) read.push(topics.other)
  if (stateTopic !== undefined) read.push(stateTopic)
  if (erasuresTopic !== undefined) read.push(erasuresTopic)
  for (const topic of read) {
    const ends = await requireReadable(admin, topic, signal)
    if (topic === topics.quarantine) await quarantineReachesBackTo(admin, topic, ends)
  }
  const onProgress = (step: string) => printNotice(`verify: ${step}`)
  const of = { topics, stateTopic, erasuresTopic, keyPrefix, projection, maxFutureMs }
  return { admin, redis, ...of, ...range, withIndexes, signal, onProgress }
}

const verifyAndRepair = async (clients: Clients, input: Input): Promise<number> => {
  const { isRepair, isExecuted, isJson } = input
  const { redis } = clients
  const options = await prepare(clients, input)
  const found = await verify(options)
  if (!isRepair) return report(isJson, found)
  const of = { topic: options.topics.customers, projection: options.projection, keyPrefix: options.keyPrefix }
  const plan = await unlessAborted(planRepair(redis, of, found.repairable), signal)
  if (!isExecuted || found.repairable.length === 0) return report(isJson, found, plan)
  await repair(redis, of, found.repairable, plan, signal)
  printNotice(`verify: ${repairSummary(found, plan)}`)
  printNotice('verify: verifying again')
  return report(isJson, await verify(options))
}

export const run = (args: readonly string[]): Promise<number> => {
  const input = readCommandLine(line, args)
  return withClients(line.name, input.settings, (clients) => verifyAndRepair(clients, input))
}
