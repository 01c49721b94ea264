/**
 * Prints the copies that `customer-stream erase` found. Escapes all texts, so that they cannot
 * control the terminal.
 */
import { isFullyErased, type Places, type Remains, type TopicRemains } from './remains.ts'
import { counted, printable } from './terminal-text.ts'

const day = (time: number) => new Date(time).toISOString().slice(0, 16).replace('T', ' ')

const keptRecords = ({ records, keepsFor, newestAt = 0 }: TopicRemains): string => {
  const keeps = `keeps ${counted(records, 'record')}`
  if (keepsFor === 'forever') return `${keeps} forever, because its retention is unlimited`
  if (keepsFor === 'compaction')
    return `${keeps} until Kafka compacts the topic; max.compaction.lag.ms sets no time limit`
  if (keepsFor === 'unknown')
    return `${keeps}; how long is unknown, because this user may not read the settings of the topic`
  return `${keeps} until ${day(newestAt + keepsFor)} UTC, plus the time until the next run of Kafka's cleaner`
}

const markText = ({ erasure, redis }: Remains): string => {
  if (redis.mark) return 'stops late events of the customer'
  return erasure === null ? 'is missing: nothing was erased' : 'is missing: no projector has executed the erasure'
}

const conclusionOf = (remains: Remains): string => {
  if (remains.erasure === null)
    return remains.redis.hash || remains.topics.some(({ records }) => records > 0)
      ? 'The customer was never erased, and there is data of the customer.'
      : 'The customer was never erased, and there is no data of the customer. Check the id.'
  return isFullyErased(remains) ? 'The erasure is complete in Kafka and Redis.' : 'The erasure is not complete.'
}

/** Returns lines for people about the remaining copies of a customer's data. */
export const remainsLines = (remains: Remains, { stateTopic }: Pick<Places, 'stateTopic'>): string[] => {
  const { customerUuid, erasure, redis, topics } = remains
  const line = (place: string, isClear: boolean, text: string) => `  ${place.padEnd(36)}${isClear ? '✔' : '✘'} ${text}`
  const noData = erasure === null ? 'has no data of the customer' : 'has no erased data of the customer'
  return [
    erasure === null
      ? `customer ${customerUuid} was never erased`
      : `customer ${customerUuid} was erased at ${new Date(erasure.erasedAt).toISOString()}, scope ${erasure.scope}, ` +
        `requested by ${erasure.requestedBy}: ${erasure.reason}`,
    line('Redis', !redis.hash, redis.hash ? 'has the customer' : noData),
    line('Redis, mark', redis.mark, markText(remains)),
    ...(redis.entries === 0
      ? []
      : [
          line(
            'Redis, indexes',
            false,
            `may have ${counted(redis.entries, 'entry', 'entries')} until a projector runs`,
          ),
        ]),
    ...topics
      .filter(({ unreadable }) => unreadable > 0)
      .map(({ topic, unreadable }) => line(topic, false, `has ${unreadable} batches of records that cannot be read`)),
    ...topics.map((found) =>
      found.records === 0 ? line(found.topic, true, noData) : line(found.topic, false, keptRecords(found)),
    ),
    conclusionOf(remains),
    `Not searched: ${stateTopic === undefined ? 'the state topic (KAFKA_STATE_TOPIC=false), ' : ''}` +
      'spools of the ingress, files and backups of Redis and Kafka, subscribers.',
  ].map(printable)
}
