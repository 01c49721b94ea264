/**
 * Minimal projector: kafkajs reads the topic, and each record becomes one HSET. This program
 * compares no versions, checks nothing, and loses records in a crash. Prints `ready` when it has
 * joined its group.
 */
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'

const { KAFKA_BROKERS = '', REDIS_URL = '', TOPIC = '', GROUP_ID = '', KEY_PREFIX = '' } = process.env
const redis = new Redis(REDIS_URL)
const kafka = new Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.ERROR })
const consumer = kafka.consumer({ groupId: GROUP_ID })
consumer.on('consumer.group_join', () => process.stdout.write('ready\n'))
await consumer.connect()
await consumer.subscribe({ topic: TOPIC })

interface Payload {
  readonly customerWithVehicles: {
    readonly customer: Readonly<Record<string, unknown>>
    readonly vehicles: unknown
    readonly addresses: unknown
  }
}
await consumer.run({
  // Commit rarely. By default kafkajs sends one more request to Kafka after each batch.
  autoCommitInterval: 1000,
  partitionsConsumedConcurrently: 12,
  eachMessage: async ({ message }) => {
    const { payload } = JSON.parse(String(message.value)) as { payload: string }
    const { customer, vehicles, addresses } = (JSON.parse(payload) as Payload).customerWithVehicles
    const fields = Object.entries({ ...customer, vehicles, addresses }).flatMap(([name, value]) => [
      name,
      typeof value === 'string' ? value : JSON.stringify(value),
    ])
    await redis.hset(`${KEY_PREFIX}customer:{${customer.customerUuid}}`, ...fields)
  },
})
