/**
 * Keeps a table of all customers in memory, from the state topic.
 *
 * The program reads the whole topic at each start, so it has no store that could disagree with the
 * topic. Settings are environment variables: KAFKA_BROKERS, KAFKA_TOPIC_PREFIX. With UNTIL_END=1
 * the program reads all partitions to their end, prints all customers, and ends.
 */
import { stateTopicName, writeState } from '@customer-stream/schemas'
import { openCustomerTable } from '@customer-stream/subscriber'
import kafkajs from 'kafkajs'

const { KAFKA_BROKERS = 'localhost:9092', KAFKA_TOPIC_PREFIX, UNTIL_END } = process.env

const stop = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort())

const table = openCustomerTable({
  // kafkajs would log at level INFO to the standard output.
  kafka: new kafkajs.Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: kafkajs.logLevel.WARN }),
  topic: stateTopicName(KAFKA_TOPIC_PREFIX),
  signal: stop.signal,
  onInvalid: ({ record: { topic, partition, offset }, reason }) => {
    process.stderr.write(`skipped ${topic}/${partition}/${offset}: ${reason}\n`)
    return 'skip'
  },
})
// Rejects if an error ends the table. The program then ends with code 1.
await table.untilCaughtUp()
process.stderr.write(`complete: ${table.size} customers\n`)
if (UNTIL_END === '1') {
  for (const state of table) process.stdout.write(`${writeState(state)}\n`)
  await table.close()
}
await table.closed
