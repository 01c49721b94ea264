import type { Consumer, ConsumerConfig, Kafka } from 'kafkajs'

/** kafkajs 2.2.4 has the offsets of all groups of a `Kafka` object in this private field. */
const OFFSETS_FIELD = 'private:Kafka:offsets'

/**
 * Creates a consumer that shares no offsets with other consumers. kafkajs shares the offsets of a
 * group between all consumers of one `Kafka` object. A member that joins the group deletes the
 * offsets of the other members. Another member may then read its partition from the start, or end
 * with a TypeError.
 */
export const createConsumer = (kafka: Kafka, config: ConsumerConfig): Consumer => {
  const fields = kafka as unknown as Record<symbol, unknown>
  const field = Object.getOwnPropertySymbols(kafka).find(({ description }) => description === OFFSETS_FIELD)
  if (field === undefined) return kafka.consumer(config)
  const shared = fields[field]
  // The consumer keeps the map that it finds here.
  fields[field] = new Map()
  try {
    return kafka.consumer(config)
  } finally {
    fields[field] = shared
  }
}
