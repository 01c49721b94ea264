/** `customer-stream look`: shows record counts of the topics, or one customer. Read-only. */
import { unlessAborted } from '@customer-stream/runtime'
import { attributed } from '@customer-stream/runtime/kafka'
import { customerKey, parseEvent, RAW_HEADERS, readVersion, topicNames } from '@customer-stream/schemas'
import { readCommandLine } from '@customer-stream/simulator/command-line'
import { customersInRedis, fetchEnds, readTopic, requirePositions, requireReadable } from '@customer-stream/verify'
import { COMMANDS } from './commands.ts'
import { interruption } from './interruption.ts'
import { type Clients, loadClientSettings, withClients } from './with-clients.ts'

const SHOWN_CUSTOMERS = 5

const { customerUuid, settings } = readCommandLine({
  name: 'look',
  usage: `customer-stream look [CUSTOMER_UUID]

  Shows how many records and customers there are, or one customer: the hash in
  Redis, and its events in Kafka.
  The settings of the services (KAFKA_BROKERS, REDIS_URL and others) are read
  from the environment.
  In this repository: npm run look -- [CUSTOMER_UUID]`,
  options: COMMANDS.look.options,
  words: true,
  read: ({ words }) => {
    if (words.length > 1) throw new Error('only one customer can be shown')
    return { customerUuid: words[0], settings: loadClientSettings() }
  },
})
const { signal } = interruption
const { REDIS_KEY_PREFIX: keyPrefix, PROJECTION_VERSION: projection } = settings
const say = (line: string) => process.stdout.write(`${line}\n`)
const topics = topicNames(settings.KAFKA_TOPIC_PREFIX)
const keyOf = (id: string) => customerKey(id, keyPrefix)

const showAll = async ({ admin, redis }: Clients) => {
  for (const topic of Object.values(topics)) {
    const ends = await attributed(`count the records of topic ${topic}`, () => fetchEnds(admin, topic))
    const records = ends.reduce((sum, { low, high }) => sum + Number(high) - Number(low), 0)
    say(`Kafka   ${topic.padEnd(36)}${String(records).padStart(9)} records in ${ends.length} partitions`)
  }
  let customers = 0
  const some: string[] = []
  for await (const id of customersInRedis(redis, keyPrefix)) {
    customers += 1
    if (customers <= SHOWN_CUSTOMERS) some.push(id)
  }
  say(`Redis   ${keyOf('…').padEnd(36)}${String(customers).padStart(9)} customers`)
  for (const id of some) say(`        ${keyOf(id)}`)
  await requirePositions(redis, projection, keyPrefix)
}

const showCustomer = async ({ admin, redis }: Clients, id: string) => {
  await requirePositions(redis, projection, keyPrefix)
  await requireReadable(admin, topics.customers, signal)
  const hash = Object.entries(await redis.hgetall(keyOf(id))).sort(([a], [b]) => (a < b ? -1 : 1))
  say(`Redis   ${keyOf(id)}${hash.length === 0 ? '   there is no hash: no such customer, or erased' : ''}`)
  for (const [field, value] of hash) say(`  ${field.padEnd(24)}${value}`)
  say(`\nKafka   ${topics.customers}, events of this customer`)
  const source = Object.fromEntries(hash)._source
  await readTopic(
    admin,
    topics.customers,
    ({ key, value, headers, offset }, partition) => {
      if (key?.toString() !== id) return
      const parsed = parseEvent(value ?? Buffer.alloc(0), {
        contentType: headers?.[RAW_HEADERS.contentType]?.toString(),
      })
      const version = parsed.ok ? readVersion(parsed.value.envelope) : parsed
      const about = version.ok
        ? `${new Date(version.value.timestamp).toISOString()}   ${version.value.id}`
        : 'not usable'
      const place = `${topics.customers}/${partition}/${offset}`
      say(`  ${`${partition}/${offset}`.padEnd(12)}${about}${place === source ? '   ◀ in Redis' : ''}`)
    },
    { signal },
  )
}

await withClients('look', settings, async (clients) => {
  await unlessAborted(customerUuid === undefined ? showAll(clients) : showCustomer(clients, customerUuid), signal)
  return 0
})
