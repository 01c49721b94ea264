/**
 * Writes the commands of Kafka's own tools that create missing topics and correct the settings of
 * existing topics.
 */
import {
  findingLine,
  type KafkaSettings,
  type NewTopic,
  TIMESTAMP_LIMITS,
  type TopicFindings,
} from '@customer-stream/runtime/kafka'

export interface TopicCommands {
  /** Each command is one line of a POSIX shell. */
  readonly commands: readonly string[]
  /**
   * Problems that no command corrects, and prerequisites of the commands. Each note has one or more
   * sentences.
   */
  readonly notes: readonly string[]
}

const PROPERTIES = 'client.properties'

const quoted = (word: string): string => (/^[\w.:,=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)

export const topicCommands = (
  settings: KafkaSettings,
  topics: readonly NewTopic[],
  { problems, warnings }: Pick<TopicFindings, 'problems' | 'warnings'>,
): TopicCommands => {
  const isSecured = settings.KAFKA_SSL || settings.KAFKA_SASL_MECHANISM !== 'none'
  const command = (tool: string, words: readonly string[]) =>
    [
      tool,
      ...['--bootstrap-server', settings.KAFKA_BROKERS.join(',')],
      ...(isSecured ? ['--command-config', PROPERTIES] : []),
      ...words,
    ]
      .map(quoted)
      .join(' ')

  const creations = topics.map(({ topic, partitions, replicationFactor, config }) =>
    command('kafka-topics.sh', [
      ...['--create', '--if-not-exists', '--topic', topic],
      ...['--partitions', String(partitions), '--replication-factor', String(replicationFactor)],
      ...Object.entries(config).flatMap(([name, value]) => ['--config', `${name}=${value}`]),
    ]),
  )
  const corrected = new Map<string, string[]>()
  const notes: string[] = []
  for (const finding of [...problems, ...warnings]) {
    const { topic, correction } = finding
    if (correction) corrected.set(topic, [...(corrected.get(topic) ?? []), `${correction.name}=${correction.value}`])
    else notes.push(`No command corrects this problem: ${findingLine(finding)}`)
  }
  const corrections = [...corrected].map(([topic, values]) =>
    command('kafka-configs.sh', [
      ...['--alter', '--entity-type', 'topics', '--entity-name', topic],
      ...['--add-config', values.join(',')],
    ]),
  )
  const commands = [...creations, ...corrections]
  if (commands.length > 0 && isSecured)
    notes.push(`${PROPERTIES} must have the login of a user that may run the commands (security.protocol and others).`)
  if (creations.length > 0)
    notes.push(`Kafka before 3.6 does not know ${TIMESTAMP_LIMITS.join(' and ')}. There, remove these options.`)
  return { commands, notes }
}
