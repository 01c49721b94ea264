import type { Kafka } from 'kafkajs'

declare const opaque: unique symbol

/**
 * Client that `createKafka` returns. A caller only passes it on to other functions of this folder.
 * The type shows nothing of kafkajs, so that another client library would change this folder only.
 */
export interface KafkaClient {
  readonly [opaque]: true
}

/** Returns the client as a type that other folders may hold. */
export const clientOf = (kafka: Kafka): KafkaClient => kafka as unknown as KafkaClient

/** Returns kafkajs' own client. */
export const kafkajsOf = (client: KafkaClient): Kafka => client as unknown as Kafka
