/**
 * `customer-stream topics`: checks the topics against the rules of the services and commands, or
 * creates the missing topics. Changes no existing topic.
 */
import { allDemands, projectorSettings } from '@customer-stream/configuration'
import { loadSettings, unlessAborted } from '@customer-stream/runtime'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import {
  createMissingTopics,
  inspectTopics,
  kafkaRules,
  kafkaSettings,
  type TopicAdmin,
  type TopicFinding,
  type TopicFindings,
  topicsToCreate,
} from '@customer-stream/runtime/kafka'
import { COMMANDS, readWords } from './commands.ts'
import { interruption, printNotice } from './interruption.ts'
import { printText } from './output.ts'
import { topicCommands } from './topic-commands.ts'
import { explainKafka, type KafkaClients, withKafka } from './with-clients.ts'

const topicSettings = { ...kafkaSettings, MAX_BODY_BYTES: projectorSettings.MAX_BODY_BYTES }

const line = {
  name: 'topics',
  usage: `customer-stream topics check [--json]
customer-stream topics create [--print] [--json]

  check     compares the topics with what the services and commands need.
            Names every problem of every topic. Exit code 0 if no topic has a
            problem, otherwise 1. Warnings do not change the exit code
  create    creates the missing topics, then checks all topics. Never changes
            an existing topic
  --print   creates nothing. Prints the commands of Kafka's own tools that
            create the missing topics and correct settings of existing topics.
            Exit code 1 if a topic has a problem, as with check
  --json    print one JSON object
  The settings of the services (KAFKA_BROKERS, KAFKA_REPLICATION_FACTOR and
  others) are read from the environment. Use the same values as the services,
  also for MAX_BODY_BYTES. Redis is not needed.
  In this repository: npx customer-stream topics check`,
  options: COMMANDS.topics.options,
  words: true,
  read: ({ flags, words }) => {
    const [chosen] = readWords(COMMANDS.topics.words, words)
    if (chosen === 'check' && flags.has('print')) throw new Error('--print belongs to topics create')
    const loaded = loadSettings(topicSettings, process.env, kafkaRules)
    return { action: chosen, isPrinted: flags.has('print'), isJson: flags.has('json'), settings: loaded }
  },
} satisfies CommandLine<unknown>

type Input = ReturnType<typeof line.read>

const { signal } = interruption
const writeLine = (text: string) => process.stdout.write(`${text}\n`)

/** Inspects all topics. If this user lacks DESCRIBE on a topic, reports the missing right. */
const inspect = async (admin: TopicAdmin, settings: Input['settings']): Promise<TopicFindings> => {
  const denied: TopicFinding[] = []
  const onDenied = (topic: string, error: unknown) =>
    denied.push({ topic, text: `cannot be checked. ${explainKafka(error, settings)}` })
  const findings = await unlessAborted(inspectTopics(admin, settings, allDemands(settings), onDenied), signal)
  return { ...findings, problems: [...denied, ...findings.problems] }
}

/** Returns the findings by topic. A missing topic has no partition count. */
const reportOf = ({ settings }: Input, { partitions, missing, problems, warnings }: TopicFindings) =>
  allDemands(settings).map(({ topic }) => {
    const textsOf = (findings: readonly TopicFinding[]) =>
      findings.filter((finding) => finding.topic === topic).map(({ text }) => text)
    const isMissing = missing.some((demand) => demand.topic === topic)
    return {
      topic,
      partitions: partitions.get(topic) ?? null,
      problems: isMissing ? ['is missing'] : textsOf(problems),
      warnings: textsOf(warnings),
    }
  })

/** Prints the findings. Returns the exit code. */
const report = (input: Input, findings: TopicFindings, created?: readonly string[]): number => {
  const topics = reportOf(input, findings)
  const count = topics.reduce((sum, { problems }) => sum + problems.length, 0)
  if (input.isJson) writeLine(JSON.stringify({ ok: count === 0, ...(created && { created }), topics }))
  else {
    for (const topic of created ?? []) printText(`created ${topic}`)
    for (const { topic, partitions, problems, warnings } of topics) {
      printText(`${problems.length > 0 ? '✘' : '✔'} ${topic}${partitions === null ? '' : `  ${partitions} partitions`}`)
      for (const text of problems) printText(`    problem: ${text}`)
      for (const text of warnings) printText(`    warning: ${text}`)
    }
    printText(`topics: ${topics.length}, problems: ${count}`)
    if (findings.missing.length > 0) printNotice('topics: `customer-stream topics create` creates the missing topics')
    else if (findings.problems.some(({ correction }) => correction))
      printNotice('topics: `customer-stream topics create --print` prints corrections')
  }
  return count === 0 ? 0 : 1
}

/** Prints the commands. Returns the exit code. */
const printCommands = ({ isJson, settings }: Input, findings: TopicFindings): number => {
  const { commands, notes } = topicCommands(settings, topicsToCreate(settings, findings), findings)
  if (isJson) writeLine(JSON.stringify({ commands, notes }))
  else {
    for (const note of notes) writeLine(`# ${note}`)
    for (const command of commands)
      writeLine(command.replaceAll(/ (?=--(?:topic|config|alter|add-config) )/g, ' \\\n  '))
    if (commands.length + notes.length === 0) writeLine('# Nothing to do: every topic is as the services need it.')
  }
  return findings.missing.length + findings.problems.length === 0 ? 0 : 1
}

const checkOrCreate = async ({ admin }: KafkaClients, input: Input): Promise<number> => {
  const { settings, action, isPrinted } = input
  const findings = await inspect(admin, settings)
  if (isPrinted) return printCommands(input, findings)
  if (action === 'check') return report(input, findings)
  const names = findings.missing.map(({ topic }) => topic)
  if (names.length > 0) await unlessAborted(createMissingTopics(admin, settings, findings), signal)
  return report(input, await inspect(admin, settings), names)
}

export const run = (args: readonly string[]): Promise<number> => {
  const input = readCommandLine(line, args)
  return withKafka(line.name, input.settings, (clients) => checkOrCreate(clients, input))
}
