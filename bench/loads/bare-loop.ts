import type { Pipeline } from '@customer-stream/testing'
import type { Bench } from '../questions/question.ts'
import { startBare } from './bare-process.ts'
import { createTopics } from './create-topics.ts'

export const PARTITIONS = 12

const kafkaOf = ({ brokers }: Bench, topic: string) => ({ KAFKA_BROKERS: brokers.kafkaBrokers.join(','), TOPIC: topic })

/** Starts a bare handler that sends each body to a topic by one kafkajs send. */
export const startBareProducer = (bench: Bench, pipeline: Pipeline, topic: string) =>
  startBare('bare-handler', pipeline, { ...kafkaOf(bench, topic), SECRET: pipeline.secret })

/**
 * Starts two minimal programs instead of our services: an HTTP handler that sends to Kafka, and a
 * consumer that writes to Redis. Uses a separate topic.
 */
export const openBareLoop = async (bench: Bench, pipeline: Pipeline) => {
  const topic = `${pipeline.topics.customers}.bare`
  await createTopics(bench, pipeline, [topic], PARTITIONS)
  const producer = await startBareProducer(bench, pipeline, topic)
  const consumer = await startBare('bare-consumer', pipeline, {
    ...kafkaOf(bench, topic),
    REDIS_URL: bench.brokers.redisUrl,
    GROUP_ID: `${topic}.group`,
    KEY_PREFIX: pipeline.keyPrefix,
  })
  return {
    url: producer.line,
    consumerPid: consumer.pid,
    close: () => Promise.all([producer.end(), consumer.end()]),
  }
}
