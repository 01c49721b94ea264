import type { Kafka } from 'kafkajs'

declare const opaque: unique symbol

/**
 * Client that `createKafka` returns, for the other functions of this folder. The type hides
 * kafkajs, so that a change of the client library would change this folder only.
 */
export interface KafkaClient {
  readonly [opaque]: true
}

/** Hides kafkajs' client behind our type. */
export const clientOf = (kafka: Kafka): KafkaClient => kafka as unknown as KafkaClient

/** Returns kafkajs' own client. */
export const kafkajsOf = (client: KafkaClient): Kafka => client as unknown as Kafka
