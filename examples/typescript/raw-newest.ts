/**
 * Keeps the newest event of each customer in SQLite, from the raw topic.
 *
 * Events and position are stored in one transaction, so a crash loses no event and repeats no
 * event. Settings are environment variables: KAFKA_BROKERS, KAFKA_TOPIC_PREFIX, GROUP_ID, STATE (a
 * file). With UNTIL_END=1 the program reads all partitions to their end, prints all customers, and
 * ends.
 */
import { DatabaseSync } from 'node:sqlite'
import { type CustomerEvent, topicNames, type Version } from '@customer-stream/schemas'
import { type DeliveryStore, subscribeToDeliveries } from '@customer-stream/subscriber'
import kafkajs from 'kafkajs'

const { KAFKA_BROKERS = 'localhost:9092', KAFKA_TOPIC_PREFIX, UNTIL_END } = process.env
const { GROUP_ID = 'raw-newest', STATE = 'customers.db' } = process.env

const database = new DatabaseSync(STATE, { timeout: 5000 })
// Store ids as BLOBs, because SQLite compares BLOBs byte by byte.
database.exec(`
  CREATE TABLE IF NOT EXISTS customer (uuid BLOB PRIMARY KEY, timestamp INTEGER, id BLOB, state TEXT);
  CREATE TABLE IF NOT EXISTS position (topic TEXT, partition INTEGER, next TEXT, PRIMARY KEY (topic, partition));
`)
const findVersion = database.prepare('SELECT timestamp, id FROM customer WHERE uuid = ?')
// Compare the version again in SQL. After partitions were added to the topic, two processes may
// have events of the same customer.
const replace = database.prepare(`
  INSERT INTO customer VALUES (?, ?, ?, ?)
  ON CONFLICT (uuid) DO UPDATE SET timestamp = excluded.timestamp, id = excluded.id, state = excluded.state
  WHERE (excluded.timestamp, excluded.id) > (timestamp, id)
`)
const findPosition = database.prepare('SELECT next FROM position WHERE topic = ? AND partition = ?')
const setPosition = database.prepare('INSERT OR REPLACE INTO position VALUES (?, ?, ?)')

const topic = topicNames(KAFKA_TOPIC_PREFIX).customers
const textOf = (blob: unknown): string => Buffer.from(blob as Uint8Array).toString()
const position = (partition: number) => findPosition.get(topic, partition)?.next as string | undefined
const versionOf = (uuid: string): Version | undefined => {
  const found = findVersion.get(Buffer.from(uuid))
  return found && { timestamp: Number(found.timestamp), id: textOf(found.id) }
}
const write = ({ customerUuid, version, dealerUuid, departmentUuid, ...event }: CustomerEvent): void => {
  const { customer, vehicles, addresses, other } = event
  const state = { dealerUuid, departmentUuid, customerWithVehicles: { ...other, customer, vehicles, addresses } }
  replace.run(Buffer.from(customerUuid), version.timestamp, Buffer.from(version.id), JSON.stringify(state))
}

const store: DeliveryStore = {
  position,
  versions: (uuids) =>
    new Map(
      uuids.flatMap((uuid) => {
        const version = versionOf(uuid)
        return version ? [[uuid, version]] : []
      }),
    ),
  commit: ({ partition, from, next, events }) => {
    database.exec('BEGIN IMMEDIATE')
    try {
      // If the position has moved, another process has the partition.
      const isMine = position(partition) === from
      if (isMine) {
        for (const event of events) write(event)
        setPosition.run(topic, partition, next)
      }
      database.exec('COMMIT')
      if (isMine) stopAtEnd()
      return isMine
    } catch (error) {
      database.exec('ROLLBACK')
      throw error
    }
  },
}

const stop = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort())

// kafkajs would log at level INFO to the standard output.
const kafka = new kafkajs.Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: kafkajs.logLevel.WARN })

const readEnds = async () => {
  const admin = kafka.admin()
  await admin.connect()
  try {
    return await admin.fetchTopicOffsets(topic)
  } finally {
    await admin.disconnect()
  }
}
const ends = UNTIL_END === '1' ? await readEnds() : []
const isAtEnd = () => ends.every(({ partition, low, high }) => BigInt(position(partition) ?? low) >= BigInt(high))
const stopAtEnd = () => {
  if (ends.length > 0 && isAtEnd()) stop.abort()
}
stopAtEnd()

// Rejects if an error ends the subscription. The program then ends with code 1.
await subscribeToDeliveries({
  kafka,
  topic,
  groupId: GROUP_ID,
  signal: stop.signal,
  store,
  // Skip the record, because it can never be used. Quarantine has a copy.
  onInvalid: ({ record: { partition, offset }, reason }) => {
    process.stderr.write(`skipped ${topic}/${partition}/${offset}: ${reason}\n`)
    return 'skip'
  },
})
if (ends.length > 0 && isAtEnd())
  for (const { uuid, timestamp, id, state } of database.prepare('SELECT * FROM customer').all()) {
    const [customerUuid, eventId] = [uuid, id].map((blob) => JSON.stringify(textOf(blob)))
    const version = `{"timestamp":${timestamp},"id":${eventId}}`
    process.stdout.write(`{"customerUuid":${customerUuid},"version":${version},"state":${state}}\n`)
  }
