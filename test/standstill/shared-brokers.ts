import { createLogger, loadSettings } from '@customer-stream/runtime'
import {
  createAdmin,
  createKafka,
  type KafkaClient,
  kafkaSettings,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { administratorOf, openRedis, type SecuredBrokers, startSecuredBrokers } from '@customer-stream/testing'

export type Administrator = ReturnType<typeof administratorOf>

const logger = createLogger('standstill', 'silent')

/** The brokers that all scenarios share, and clients of the harness, which have all rights. */
export interface SharedBrokers {
  readonly brokers: SecuredBrokers
  readonly kafka: KafkaClient
  readonly admin: TopicAdmin
  readonly administrator: Administrator
  readonly redis: RedisClient
  close(): Promise<void>
}

export const kafkaAt = (address: string): KafkaClient =>
  createKafka(loadSettings(kafkaSettings, { KAFKA_BROKERS: address }), { clientId: 'standstill', logger })

export const openSharedBrokers = async (): Promise<SharedBrokers> => {
  const brokers = await startSecuredBrokers()
  const kafka = kafkaAt(brokers.kafka.admin)
  const admin = createAdmin(kafka, { isPatient: true })
  const [redis] = await Promise.all([openRedis({ REDIS_URL: brokers.redisUrl }), admin.connect()])
  return {
    brokers,
    kafka,
    admin,
    administrator: administratorOf(admin),
    redis,
    close: async () => {
      redis.disconnect()
      await admin.disconnect()
      await brokers.stop()
    },
  }
}
