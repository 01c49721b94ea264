/**
 * kafkajs' own clients behind `KafkaClient` and `TopicAdmin`. Only packages/testing may import this
 * file: a test then plays a foreign producer or an administrator.
 */
export { kafkajsOf } from './kafka-client.ts'
export { administratorOf } from './topic-admin.ts'
