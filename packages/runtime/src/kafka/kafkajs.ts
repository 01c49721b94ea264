/**
 * kafkajs' own clients behind `KafkaClient` and `TopicAdmin`. Only packages/testing may import this
 * file: tests act as foreign producers and administrators.
 */
export { kafkajsOf } from './kafka-client.ts'
export { administratorOf } from './topic-admin.ts'
