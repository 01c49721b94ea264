import {
  choice,
  integer,
  type Loaded,
  list,
  optionalText,
  processRules,
  processSettings,
  quoted,
  type Rule,
  recordPlaces,
  text,
} from '@customer-stream/runtime'
import { kafkaRules, kafkaSettings } from '@customer-stream/runtime/kafka'
import { redisRules, redisSettings } from '@customer-stream/runtime/redis-settings'
import {
  DEFAULT_KEY_PREFIX,
  DEFAULT_TOPIC_PREFIX,
  type IndexName,
  indexNames,
  MAX_FUTURE_MS,
  PROJECTION_VERSION,
  topicNames,
} from '@customer-stream/schemas'
import { ingressSettings } from './ingress.ts'

export const projectorSettings = {
  ...processSettings,
  PROJECTION_VERSION: integer({
    default: PROJECTION_VERSION,
    minimum: PROJECTION_VERSION,
    maximum: 1_000_000,
    description: 'Number of the hash layout. A higher number rebuilds every hash from the start of the topic.',
  }),
  MAX_FUTURE_MS: integer({
    default: MAX_FUTURE_MS,
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description:
      'Maximum time by which an event’s timestamp may be later than its receipt. An event above this limit goes ' +
      'to quarantine. Otherwise the event would block all updates of its customer until the time of its timestamp.',
  }),
  INDEXES: list({
    default: indexNames.join(','),
    description:
      'Values by which readers find customers in Redis: `phone`, `email`, `vin`, `key` (the key of a customer at its ' +
      'dealer), `dealer`. `none` switches indexes off. After a change, raise `PROJECTION_VERSION`.',
  }),
  PHONE_COUNTRY: text({
    default: 'US',
    pattern: '^[A-Z]{2}$',
    shown: 'two letters, such as `US`',
    description:
      'Country of phone numbers without a country code, as two letters (ISO 3166). After a change, raise ' +
      '`PROJECTION_VERSION`.',
  }),
  QUARANTINE_RECORDS: recordPlaces({
    description:
      'Records that the projector moves to quarantine without reading them, each as `topic/partition/offset`. If a ' +
      'record stops its partition, name the record here. The log and `/readyz` name such a record.',
  }),
  MAX_BODY_BYTES: {
    ...ingressSettings.MAX_BODY_BYTES,
    description: 'Maximum bytes of an event that the topics must accept. Give projector and ingress the same value.',
  },
  CHUNK_RECORDS: integer({
    default: 1000,
    minimum: 1,
    maximum: 10_000,
    description:
      'Maximum records of a chunk. The position of a partition moves once for each chunk. Redis gets only the ' +
      'newest event of each customer in a chunk.',
  }),
  LOOKAHEAD_RECORDS: integer({
    default: 200_000,
    minimum: 0,
    maximum: 10_000_000,
    description:
      'Maximum records of a partition that are read ahead while the partition’s position is far behind. If the ' +
      'projector reads a newer event of a customer ahead, it does not apply the older events. 0 switches this off. ' +
      'Each record needs one byte of memory.',
  }),
  CONSUMER_FETCH_MAX_BYTES: integer({
    default: 8_388_608,
    minimum: 65_536,
    maximum: 104_857_600,
    description:
      'Maximum bytes of one fetch, with at most 1 MiB from each partition. With a small value, a fetch has records ' +
      'of few partitions, so fewer partitions are handled in parallel. Decoded records need several times as much ' +
      'memory.',
  }),
  POSITION_CHECK_MS: integer({
    default: 5000,
    minimum: 100,
    maximum: 600_000,
    description:
      'Interval at which the projector compares the positions in Redis with the expected positions. So the projector ' +
      'notices an emptied or restored Redis even without new events. New erasures are executed at the same interval.',
  }),
  CONSUMER_GROUP_ID: optionalText({
    description:
      'Consumer group of all projectors that share a Redis and a `REDIS_KEY_PREFIX`. Default: ' +
      '`customer-stream-projector`. If `KAFKA_TOPIC_PREFIX` or `REDIS_KEY_PREFIX` is not the default, the suffix ' +
      '`-<KAFKA_TOPIC_PREFIX>-<REDIS_KEY_PREFIX>` is added.',
  }),
  ON_CLUSTER_CHANGE: choice(['refuse', 'start-over'], {
    default: 'refuse',
    description:
      'What happens if the positions in Redis belong to another Kafka cluster. `refuse`: nothing is applied ' +
      'until a person acts. `start-over`: the positions are deleted and the topic is applied from its start.',
  }),
  CONSUMER_SESSION_TIMEOUT_MS: integer({
    default: 15_000,
    minimum: 6000,
    maximum: 300_000,
    description: 'After this time without a heartbeat, a projector loses its partitions to another projector.',
  }),
  CONSUMER_MAX_WAIT_MS: integer({
    default: 1000,
    minimum: 10,
    maximum: 5000,
    description: 'Maximum time that a fetch waits for new records. The fetch ends as soon as there is a record.',
  }),
  ...kafkaSettings,
  ...redisSettings,
}

export type ProjectorSettings = Loaded<typeof projectorSettings>

/** Returns the options of the indexes. Undefined if indexes are switched off. */
export const indexOptions = ({ INDEXES, PHONE_COUNTRY }: Pick<ProjectorSettings, 'INDEXES' | 'PHONE_COUNTRY'>) =>
  INDEXES.includes('none') ? undefined : { indexes: INDEXES as readonly IndexName[], country: PHONE_COUNTRY }

/** Returns the options as text. The projector stores this text beside the positions. */
export const indexesText = ({ indexes, country }: { indexes: readonly IndexName[]; country: string }): string =>
  `${indexes.toSorted().join(',')}/${country}`

const GROUP_ID = 'customer-stream-projector'

/**
 * Returns the consumer group of an installation. Two installations on one Kafka must not share a
 * group. Otherwise each installation gets partitions that only the other installation can apply.
 */
export const defaultGroupId = ({
  KAFKA_TOPIC_PREFIX,
  REDIS_KEY_PREFIX,
}: Pick<ProjectorSettings, 'KAFKA_TOPIC_PREFIX' | 'REDIS_KEY_PREFIX'>) =>
  KAFKA_TOPIC_PREFIX === DEFAULT_TOPIC_PREFIX && REDIS_KEY_PREFIX === DEFAULT_KEY_PREFIX
    ? GROUP_ID
    : `${GROUP_ID}-${KAFKA_TOPIC_PREFIX}-${REDIS_KEY_PREFIX}`

/**
 * Returns true for the code of a country. A code such as UK is refused, because its canonical form
 * is GB. The names of the countries need 6 MB of memory, so only a service that checks a country
 * loads them.
 */
const isCountry = (code: string): boolean =>
  new Intl.DisplayNames('en', { type: 'region', fallback: 'none' }).of(code) !== undefined &&
  Intl.getCanonicalLocales(`und-${code}`)[0] === `und-${code}`

export const projectorRules: readonly Rule<typeof projectorSettings>[] = [
  ...processRules,
  ...redisRules,
  ...kafkaRules,
  ({ INDEXES: names }) =>
    names.join() === 'none' || names.every((name) => indexNames.includes(name as IndexName))
      ? undefined
      : `INDEXES must be none or a list of ${indexNames.join(', ')}`,
  // With an unknown country, phone numbers without a country code would not be indexed.
  ({ PHONE_COUNTRY: country }) =>
    isCountry(country) ? undefined : `PHONE_COUNTRY: ${country} is not a country of ISO 3166, such as US or GB`,
  // Without this rule, QUARANTINE_RECORDS of another topic would be ignored silently.
  ({ QUARANTINE_RECORDS: places, KAFKA_TOPIC_PREFIX: prefix }) => {
    const { customers } = topicNames(prefix)
    const foreign = [...places].filter((place) => !place.startsWith(`${customers}/`))
    return foreign.length === 0
      ? undefined
      : `QUARANTINE_RECORDS names ${foreign.slice(0, 3).map(quoted).join(', ')}, but the topic is ${customers}`
  },
]
