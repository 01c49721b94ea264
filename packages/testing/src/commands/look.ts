/** `npm run look`: what is in Kafka and Redis, for a first look around. Read-only. */
import { createLogger, loadSettings } from '@customer-stream/runtime'
import { createKafka, kafkaSettings } from '@customer-stream/runtime/kafka'
import { connectRedis, createRedis, mastersOf, redisSettings } from '@customer-stream/runtime/redis'
import { customerKey, parseEvent, readVersion, topicNames } from '@customer-stream/schemas'
import { readCommandLine } from '@customer-stream/simulator/command-line'
import { requireReachable } from '../brokers/reachable.ts'
import { unlessAborted } from '../brokers/unless-aborted.ts'
import { fetchEnds, readTopic } from '../verification/read-topic.ts'
import { interruption, sayWhy } from './interruption.ts'

const SHOWN_CUSTOMERS = 5

const { customerUuid, settings } = readCommandLine({
  name: 'look',
  usage: `npm run look -- [CUSTOMER_UUID]

  Shows how many records and customers there are, or one customer: the hash in Redis, and its events in Kafka.
  KAFKA_BROKERS and REDIS_URL, and the prefixes of topics and keys, are settings as for the services.`,
  options: {},
  words: true,
  read: ({ words }) => {
    if (words.length > 1) throw new Error('only one customer can be shown')
    return { customerUuid: words[0], settings: loadSettings({ ...kafkaSettings, ...redisSettings }, process.env) }
  },
})
const { signal } = interruption
const say = (line: string) => process.stdout.write(`${line}\n`)
const logger = createLogger('look', 'silent')
const kafka = createKafka(settings, { clientId: 'customer-stream-look', logger })
const admin = kafka.admin()
const redis = createRedis(settings, logger)
const topics = topicNames(settings.KAFKA_TOPIC_PREFIX)
const keyOf = (id: string) => customerKey(id, settings.REDIS_KEY_PREFIX)

const showAll = async () => {
  for (const topic of Object.values(topics)) {
    const ends = await fetchEnds(admin, topic)
    const records = ends.reduce((sum, { low, high }) => sum + Number(high) - Number(low), 0)
    say(`Kafka   ${topic.padEnd(36)}${String(records).padStart(9)} records in ${ends.length} partitions`)
  }
  let customers = 0
  const some: string[] = []
  for (const master of mastersOf(redis)) {
    let cursor = '0'
    do {
      const [next, keys] = await master.scan(cursor, 'MATCH', keyOf('*'), 'COUNT', 1000)
      customers += keys.length
      some.push(...keys.slice(0, SHOWN_CUSTOMERS - some.length))
      cursor = next
    } while (cursor !== '0')
  }
  say(`Redis   ${keyOf('…').padEnd(36)}${String(customers).padStart(9)} customers`)
  for (const key of some) say(`        ${key}`)
}

const showCustomer = async (id: string) => {
  const hash = Object.entries(await redis.hgetall(keyOf(id))).sort(([a], [b]) => (a < b ? -1 : 1))
  say(`Redis   ${keyOf(id)}${hash.length === 0 ? '   there is no such customer' : ''}`)
  for (const [field, value] of hash) say(`  ${field.padEnd(24)}${value}`)
  say(`\nKafka   ${topics.customers}, events of this customer`)
  const source = Object.fromEntries(hash)._source
  await readTopic(
    kafka,
    admin,
    topics.customers,
    ({ key, value, offset }, partition) => {
      if (key?.toString() !== id) return
      const parsed = parseEvent(value ?? Buffer.alloc(0))
      const version = parsed.ok ? readVersion(parsed.value.envelope) : parsed
      const about = version.ok ? `${new Date(version.value.timestamp).toISOString()}   ${version.value.id}` : 'not usable'
      const place = `${topics.customers}/${partition}/${offset}`
      say(`  ${`${partition}/${offset}`.padEnd(12)}${about}${place === source ? '   ◀ in Redis' : ''}`)
    },
    { signal },
  )
}

let exitCode = 0
try {
  await requireReachable(settings)
  await unlessAborted(Promise.all([admin.connect(), connectRedis(redis)]), signal)
  await unlessAborted(customerUuid === undefined ? showAll() : showCustomer(customerUuid), signal)
} catch (error) {
  exitCode = sayWhy('look', error)
} finally {
  redis.disconnect()
  await admin.disconnect()
}
process.exit(exitCode)
