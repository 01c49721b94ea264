/**
 * `customer-stream erase`: erases a customer, or shows the remaining data of an erased customer.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { unlessAborted } from '@customer-stream/runtime'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { attributed, createVerifiedProducer, requireReadable } from '@customer-stream/runtime/kafka'
import { customerKey, erasedKey, erasuresTopicName, stateTopicName, topicNames } from '@customer-stream/schemas'
import { requirePositions } from '@customer-stream/verify'
import { COMMANDS, readWords } from './commands.ts'
import { interruption, printNotice } from './interruption.ts'
import { printText } from './output.ts'
import { remainsLines } from './print-remains.ts'
import { findRemains, isFullyErased, type Places } from './remains.ts'
import { requestErasure } from './request-erasure.ts'
import { jsonLine } from './terminal-text.ts'
import { type Clients, loadClientSettings, withClients } from './with-clients.ts'

const SEND_MS = 10_000
/** Time between two reads of the erasure mark in Redis. */
const PAUSE_MS = 100

const line = {
  name: 'erase',
  usage: `customer-stream erase CUSTOMER_UUID --reason TEXT --requested-by NAME
                      [--scope until-now] [--wait-seconds N] [--json]
customer-stream erase CUSTOMER_UUID --status [--json]

  Erases a customer from Redis and from the state topic, and shows where copies
  of the data are left. An erasure cannot be undone. With --status nothing is
  erased. Exit code 0 if the customer was erased and no copy is left,
  otherwise 1.
  --reason TEXT         why, at most 1000 characters, without data of the
                        customer. The text is stored forever
  --requested-by NAME   who asked for the erasure. The name is stored forever
  --scope until-now     new events bring the customer back. Without this option
                        no event brings the customer back
  --wait-seconds N      maximum wait until a projector has executed the erasure
                        (default 60)
  --status              erase nothing, and show the remaining data
                        of the customer
  --json                print one JSON object
  The settings of the services (KAFKA_BROKERS, REDIS_URL and others) are read
  from the environment.
  In this repository: npm run erase -- CUSTOMER_UUID [OPTIONS]`,
  options: COMMANDS.erase.options,
  words: true,
  read: ({ texts, flags, words }) => {
    const [id] = readWords([[]], words, 'the CUSTOMER_UUID')
    const { reason, scope = 'forever', 'requested-by': requestedBy, 'wait-seconds': wait = '60' } = texts
    const seconds = wait.trim() === '' ? Number.NaN : Number(wait)
    if (!(seconds >= 0 && seconds <= 86_400)) throw new Error('--wait-seconds must be a number from 0 to 86400')
    if (scope !== 'forever' && scope !== 'until-now') throw new Error('--scope must be forever or until-now')
    const isStatus = flags.has('status')
    if (isStatus && (reason ?? requestedBy ?? texts.scope) !== undefined)
      throw new Error('--status erases nothing, so use it without --reason, --requested-by and --scope')
    if (!isStatus && reason === undefined) throw new Error('--reason is missing')
    if (!isStatus && requestedBy === undefined) throw new Error('--requested-by is missing')
    if (reason?.trim() === '') throw new Error('--reason is blank')
    if (requestedBy?.trim() === '') throw new Error('--requested-by is blank')
    const asked =
      reason === undefined || requestedBy === undefined
        ? undefined
        : ({ customerUuid: id, scope, reason, requestedBy } as const)
    const loaded = loadClientSettings()
    if (!loaded.KAFKA_ERASURES_TOPIC) throw new Error('KAFKA_ERASURES_TOPIC=false, so no projector executes erasures')
    return { customerUuid: id, request: asked, waitMs: seconds * 1000, isJson: flags.has('json'), settings: loaded }
  },
} satisfies CommandLine<unknown>

type Input = ReturnType<typeof line.read>

const { signal } = interruption

const placesOf = ({ settings }: Input): Places => {
  const prefix = settings.KAFKA_TOPIC_PREFIX
  return {
    topics: topicNames(prefix),
    stateTopic: settings.KAFKA_STATE_TOPIC ? stateTopicName(prefix) : undefined,
    erasuresTopic: erasuresTopicName(prefix),
    keyPrefix: settings.REDIS_KEY_PREFIX,
  }
}

/**
 * Rejects if a right is missing, or if the prefix of the topics or of the keys is wrong. Runs
 * before anything is erased.
 * @returns the partitions of the erasures topic.
 */
const requirePlaces = async ({ admin, redis }: Clients, { customerUuid, request, settings }: Input, places: Places) => {
  const { topics, stateTopic, erasuresTopic, keyPrefix } = places
  await requirePositions(redis, settings.PROJECTION_VERSION, keyPrefix)
  const [hash] = await Promise.all([customerKey, erasedKey].map((key) => redis.hgetall(key(customerUuid, keyPrefix))))
  if (request && Object.keys(hash ?? {}).length === 0)
    printNotice(`erase: Redis has no customer ${customerUuid}; check the id`)
  for (const topic of [...Object.values(topics), ...(stateTopic === undefined ? [] : [stateTopic])])
    await requireReadable(admin, topic, signal)
  return requireReadable(admin, erasuresTopic, signal)
}

/** @throws Error if no projector has executed the erasure in time. */
const requireExecuted = async (
  redis: Clients['redis'],
  { customerUuid, waitMs, settings }: Input,
  erasedAt: number,
): Promise<void> => {
  const deadline = performance.now() + waitMs
  const markedAt = async () =>
    Number((await redis.hgetall(erasedKey(customerUuid, settings.REDIS_KEY_PREFIX))).erasedAt)
  while (!((await markedAt()) >= erasedAt)) {
    if (performance.now() > deadline)
      throw new Error(
        `No projector has executed the erasure within ${waitMs / 1000} s. The erasure is stored. Check the ` +
          'projectors with customer-stream status. Later, run this command again with --status.',
      )
    await sleep(PAUSE_MS)
  }
}

/**
 * Writes the erasure if the operator has requested one. Then waits until a projector has executed
 * the erasure.
 */
const erase = async ({ kafka, redis }: Clients, input: Input, erasuresTopic: string, partitions: number) => {
  const { request } = input
  if (request === undefined) return
  const producer = createVerifiedProducer(kafka, { metadataMaxAgeMs: 30_000, produceTimeoutMs: SEND_MS })
  try {
    await producer.connect()
    await producer.setPartitions(new Map([[erasuresTopic, partitions]]))
    const { erasedAt } = await attributed(`write to topic ${erasuresTopic}`, () =>
      requestErasure(producer, erasuresTopic, request),
    )
    printNotice('erase: the erasure is stored; waiting for the projector')
    await unlessAborted(requireExecuted(redis, input, erasedAt), signal)
  } finally {
    await producer.disconnect()
  }
}

const eraseAndSearch = async (clients: Clients, input: Input): Promise<number> => {
  const { customerUuid, isJson } = input
  const places = placesOf(input)
  const partitions = await unlessAborted(requirePlaces(clients, input, places), signal)
  await erase(clients, input, places.erasuresTopic, partitions.length)
  const onProgress = (topic: string) => printNotice(`erase: searching ${topic}`)
  const remains = await unlessAborted(findRemains(clients, places, customerUuid, { signal, onProgress }), signal)
  if (isJson) process.stdout.write(jsonLine(remains))
  else printText(remainsLines(remains, places).join('\n'))
  return isFullyErased(remains) ? 0 : 1
}

export const run = (args: readonly string[]): Promise<number> => {
  const input = readCommandLine(line, args)
  return withClients(line.name, input.settings, (clients) => eraseAndSearch(clients, input))
}
