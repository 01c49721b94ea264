/** Prints the copies that `customer-stream erase` found. No text controls the terminal. */
import { isFullyErased, type Places, type Remains, type TopicRemains } from './remains.ts'
import { printable } from './terminal-text.ts'

const day = (time: number) => new Date(time).toISOString().slice(0, 16).replace('T', ' ')

const keptUntil = ({ keepsFor, newestAt = 0 }: TopicRemains): string => {
  if (keepsFor === 'forever') return 'forever, because the topic has unlimited retention'
  if (keepsFor === 'compaction') return 'Kafka compacts the topic, for which max.compaction.lag.ms sets no time'
  if (keepsFor === 'unknown') return 'unknown, because this user may not read the settings of the topic'
  return `${day(newestAt + keepsFor)} UTC at the latest, and until Kafka's next cleaner run`
}

/** Returns the copies of a customer's data that are left, for people. */
export const remainsLines = (remains: Remains, { stateTopic }: Pick<Places, 'stateTopic'>): string[] => {
  const { customerUuid, erasure, redis, topics } = remains
  const line = (place: string, isClear: boolean, text: string) => `  ${place.padEnd(36)}${isClear ? '✔' : '✘'} ${text}`
  return [
    erasure === null
      ? `customer ${customerUuid} was never erased`
      : `customer ${customerUuid} was erased at ${new Date(erasure.erasedAt).toISOString()}, scope ${erasure.scope}, ` +
        `requested by ${erasure.requestedBy}: ${erasure.reason}`,
    line('Redis', !redis.hash, redis.hash ? 'has the customer' : 'has no erased data of the customer'),
    line(
      'Redis, mark',
      redis.mark,
      redis.mark ? 'stops late events of the customer' : 'is missing: no projector has executed it',
    ),
    ...topics
      .filter(({ unreadable }) => unreadable > 0)
      .map(({ topic, unreadable }) => line(topic, false, `has ${unreadable} batches of records that cannot be read`)),
    ...topics.map((found) =>
      found.records === 0
        ? line(found.topic, true, 'has no erased data of the customer')
        : line(found.topic, false, `has ${found.records} records, until ${keptUntil(found)}`),
    ),
    isFullyErased(remains) ? 'The erasure is complete in Kafka and Redis.' : 'The erasure is not complete.',
    `Not searched: ${stateTopic === undefined ? 'the state topic (KAFKA_STATE_TOPIC=false), ' : ''}` +
      'spools of the ingress, files and backups of Redis and Kafka, subscribers.',
  ].map(printable)
}
