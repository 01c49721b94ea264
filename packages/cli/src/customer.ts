/**
 * `customer-stream customer`: shows one customer, or the outcome of each of its events. Read-only.
 */

import { unlessAborted } from '@customer-stream/runtime'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { readTopic, requireReadable } from '@customer-stream/runtime/kafka'
import { customerKey, erasedKey, partitionOf, stateTopicName, topicNames } from '@customer-stream/schemas'
import { readProgress, requirePositions } from '@customer-stream/verify'
import { COMMANDS, readWords } from './commands.ts'
import { createHistory } from './customer-history.ts'
import { formerPartitions } from './former-partitions.ts'
import { interruption, printNotice } from './interruption.ts'
import { printText } from './output.ts'
import { type CustomerHistory, historyLines, partitionsText, shownLines } from './print-customer.ts'
import { type Erased, readShownCustomer } from './shown-customer.ts'
import { grouped, jsonLine } from './terminal-text.ts'
import { type Clients, loadClientSettings, withClients } from './with-clients.ts'

const MOST_EVENTS = 10_000

const line = {
  name: 'customer',
  usage: `customer-stream customer show ID [--json]
customer-stream customer history ID [--limit N] [--json]

  show       The customer's hash in Redis, with its version and its raw record,
             and the erasure mark if the customer was erased. Says whether the
             document in the state topic equals the hash. Prints personal data.
  history    The customer's events in Kafka in order, with their outcomes:
               applied       newer than every earlier event
               older         ignored, because an earlier event is newer
               repeat        ignored, because an earlier event is the same
               quarantined   can never be applied; quarantine has a copy
               unusable      can never be applied; quarantine has no copy
               erased        not applied, because the customer was erased
               waiting       no projector has read the event yet
             Prints only ids, times and places, no other data.
  --limit N  show the newest N events, 1 to ${MOST_EVENTS} (default 100)
  --json     print one JSON object
  Both commands read only the customer's partition. history also reads
  quarantine and, if partitions were added, the partitions that may have older
  events. Exit code 1 if the customer is unknown, or if the document differs,
  otherwise 0.
  The settings of the services (KAFKA_BROKERS, REDIS_URL and others) are read
  from the environment.
  In this repository: npm run customer -- show ID`,
  options: COMMANDS.customer.options,
  words: true,
  read: ({ texts, flags, words }) => {
    const [word, id] = readWords(COMMANDS.customer.words, words, 'the ID of the customer (customerUuid)')
    if (word === 'show' && texts.limit !== undefined) throw new Error('--limit is valid only for `customer history`')
    const most = Number(texts.limit ?? '100')
    if (!(Number.isInteger(most) && most >= 1 && most <= MOST_EVENTS))
      throw new Error(`--limit must be a whole number from 1 to ${MOST_EVENTS}`)
    return { customerUuid: id, task: word, limit: most, isJson: flags.has('json'), settings: loadClientSettings() }
  },
} satisfies CommandLine<unknown>

type Input = ReturnType<typeof line.read>

const { signal } = interruption

const print = (isJson: boolean, value: object, lines: readonly string[]) => {
  if (isJson) process.stdout.write(jsonLine(value))
  else printText(lines.join('\n'))
}
const onProgress = (topic: string) => (read: number, total: number) =>
  printNotice(`customer: read ${grouped(read)} of ${grouped(total)} records of ${topic}`)

const unknown = (customerUuid: string, places: string): number => {
  printNotice(
    `customer: ${places} nothing of customer ${customerUuid}. Check the id: upper and lower case differ. ` +
      'Check KAFKA_TOPIC_PREFIX and REDIS_KEY_PREFIX too.',
  )
  return 1
}

const readErased = async ({ redis }: Clients, { customerUuid, settings }: Input): Promise<Erased | undefined> => {
  const { scope, erasedAt } = await redis.hgetall(erasedKey(customerUuid, settings.REDIS_KEY_PREFIX))
  const isScope = scope === 'forever' || scope === 'until-now'
  return isScope && erasedAt !== undefined ? { scope, erasedAt: Number(erasedAt) } : undefined
}

/** Returns the ends of the customer's own partition. */
const ownPartition = async ({ admin }: Clients, customerUuid: string, topic: string) => {
  const ends = await requireReadable(admin, topic, signal)
  const own = partitionOf(customerUuid, ends.length)
  const end = ends.find(({ partition }) => partition === own)
  if (end === undefined) throw new Error(`Kafka returns no end of partition ${own} of ${topic}`)
  return end
}

/**
 * Returns the ends of the customer's own partition, and of the partitions that may have older
 * records of the customer.
 */
const possiblePartitions = async ({ admin }: Clients, customerUuid: string, topic: string) => {
  const ends = await requireReadable(admin, topic, signal)
  const former = await formerPartitions(admin, { topic, customerUuid, ends }, signal)
  const chosen = [partitionOf(customerUuid, ends.length), ...former]
  return chosen.flatMap((partition) => ends.filter((end) => end.partition === partition))
}

const show = async (clients: Clients, input: Input): Promise<number> => {
  const { customerUuid, settings } = input
  const { REDIS_KEY_PREFIX: keyPrefix, PROJECTION_VERSION: projection, KAFKA_TOPIC_PREFIX: prefix } = settings
  const topics = topicNames(prefix)
  const stateTopic = settings.KAFKA_STATE_TOPIC ? stateTopicName(prefix) : undefined
  await requirePositions(clients.redis, projection, keyPrefix)
  await requireReadable(clients.admin, topics.customers, signal)
  const state =
    stateTopic === undefined
      ? undefined
      : {
          topic: stateTopic,
          end: await ownPartition(clients, customerUuid, stateTopic),
          onProgress: onProgress(stateTopic),
        }
  const readHash = () => clients.redis.hgetall(customerKey(customerUuid, keyPrefix))
  const erased = await readErased(clients, input)
  const shown = await readShownCustomer(
    { admin: clients.admin, readHash, signal },
    { customerUuid, key: customerKey(customerUuid, keyPrefix), topic: topics.customers, erased, state },
  )
  if (!shown.isKnown) return unknown(customerUuid, 'Redis and the state topic have')
  print(input.isJson, shown, shownLines(shown))
  return shown.isSound ? 0 : 1
}

const history = async (clients: Clients, input: Input): Promise<number> => {
  const { customerUuid, limit, settings } = input
  const { REDIS_KEY_PREFIX: keyPrefix, PROJECTION_VERSION: projection, MAX_FUTURE_MS: maxFutureMs } = settings
  const topics = topicNames(settings.KAFKA_TOPIC_PREFIX)
  const { admin, redis } = clients
  await requirePositions(redis, projection, keyPrefix)
  const own = await possiblePartitions(clients, customerUuid, topics.customers)
  const partitions = own.map(({ partition, low }) => ({ partition, deletedBefore: low === '0' ? null : low }))
  const ends = await requireReadable(admin, topics.quarantine, signal)
  const of = { topic: topics.customers, projection, keyPrefix }
  const progress = await readProgress(
    redis,
    of,
    own.map(({ partition }) => partition),
  )
  const known = (progress ?? []).flatMap(({ partition, completeBefore }) =>
    completeBefore === undefined ? [] : [[partition, completeBefore] as const],
  )
  const [hash, erasure] = await Promise.all([
    redis.hgetall(customerKey(customerUuid, keyPrefix)),
    readErased(clients, input),
  ])
  const found = createHistory({
    customerUuid,
    topic: topics.customers,
    maxFutureMs,
    limit,
    erasure,
    positions: new Map(known),
    source: hash._source,
  })
  let unreadable = 0
  const onUnreadable = () => {
    unreadable += 1
  }
  const reading = (topic: string) => ({ onUnreadable, signal, onProgress: onProgress(topic) })
  await readTopic(admin, topics.customers, found.addRaw, { ...reading(topics.customers), ends: own })
  await readTopic(
    admin,
    topics.quarantine,
    (record, partition) => found.addQuarantined(record, topics.quarantine, partition),
    { ...reading(topics.quarantine), ends },
  )
  const events = found.events()
  if (events.length === 0)
    return unknown(customerUuid, `${partitionsText(partitions)} of ${topics.customers} and quarantine have`)
  const shown: CustomerHistory = {
    customerUuid,
    topic: topics.customers,
    partitions,
    events,
    leftOut: found.leftOut,
    unreadable,
    hashPlace: hash._source ?? null,
    isHashListed: hash._source === undefined ? null : events.some(({ isInRedis }) => isInRedis),
    erased: erasure ?? null,
  }
  print(input.isJson, shown, historyLines(shown))
  return 0
}

export const run = (args: readonly string[]): Promise<number> => {
  const input = readCommandLine(line, args)
  const work = input.task === 'show' ? show : history
  return withClients(line.name, input.settings, (clients) => unlessAborted(work(clients, input), signal))
}
