import {
  choice,
  integer,
  type Loaded,
  optionalText,
  processRules,
  processSettings,
  type Rule,
  recordPlaces,
} from '@customer-stream/runtime'
import { kafkaRules, kafkaSettings } from '@customer-stream/runtime/kafka'
import { redisRules, redisSettings } from '@customer-stream/runtime/redis'
import {
  DEFAULT_KEY_PREFIX,
  DEFAULT_TOPIC_PREFIX,
  MAX_FUTURE_MS,
  PROJECTION_VERSION,
  topicNames,
} from '@customer-stream/schemas'

export const projectorSettings = {
  ...processSettings,
  PROJECTION_VERSION: integer({
    default: PROJECTION_VERSION,
    minimum: PROJECTION_VERSION,
    maximum: 1_000_000,
    description: 'Number of the hash layout. Raising it rebuilds every hash from the start of the topic.',
  }),
  MAX_FUTURE_MS: integer({
    default: MAX_FUTURE_MS,
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description:
      'An event that claims to be younger than its own receipt by more than this goes to quarantine: it would ' +
      'freeze its customer until then.',
  }),
  QUARANTINE_RECORDS: recordPlaces({
    description:
      'Records that go to quarantine unread, each as `topic/partition/offset`. For a record that the projector ' +
      'cannot get past: it names the record in its log and in `/readyz`.',
  }),
  MAX_BODY_BYTES: integer({
    default: 1_048_576,
    minimum: 1024,
    maximum: 16_777_216,
    description: 'As for ingress: topics must take records of this size.',
  }),
  CHUNK_RECORDS: integer({
    default: 1000,
    minimum: 1,
    maximum: 10_000,
    description:
      'Records of a partition handled at a time, after which its position moves. They are first reduced to the ' +
      'newest event of each customer.',
  }),
  LOOKAHEAD_RECORDS: integer({
    default: 200_000,
    minimum: 0,
    maximum: 10_000_000,
    description:
      'Records of a partition that are read ahead while its position is far behind, so that events which a newer ' +
      'event supersedes need not be applied. 0 switches this off. Needs a byte of memory a record and partition.',
  }),
  CONSUMER_FETCH_MAX_BYTES: integer({
    default: 8_388_608,
    minimum: 65_536,
    maximum: 104_857_600,
    description:
      'Bytes that one fetch brings, at most 1 MiB of them from one partition. Few of them hold few partitions, ' +
      'which are then handled one after the other; decoded they take several times as much memory.',
  }),
  POSITION_CHECK_MS: integer({
    default: 5000,
    minimum: 100,
    maximum: 600_000,
    description:
      'How often the positions in Redis are compared with those expected, so that an emptied or restored Redis ' +
      'is noticed without traffic. New erasures are executed as often.',
  }),
  CONSUMER_GROUP_ID: optionalText({
    description:
      'Consumer group of all projectors that share a Redis and a `REDIS_KEY_PREFIX`. If not given, ' +
      '`customer-stream-projector`, followed by `-<KAFKA_TOPIC_PREFIX>-<REDIS_KEY_PREFIX>` unless both have ' +
      'their defaults.',
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
    description: 'A projector that is not heard of for this time loses its partitions to another.',
  }),
  CONSUMER_MAX_WAIT_MS: integer({
    default: 1000,
    minimum: 10,
    maximum: 5000,
    description: 'How long a fetch waits for new records. They are delivered at once in any case.',
  }),
  ...kafkaSettings,
  ...redisSettings,
}

export type ProjectorSettings = Loaded<typeof projectorSettings>

const GROUP_ID = 'customer-stream-projector'

/**
 * Two installations on one Kafka must not share a group. Otherwise each gets partitions that only
 * the other can apply.
 */
export const defaultGroupId = ({
  KAFKA_TOPIC_PREFIX,
  REDIS_KEY_PREFIX,
}: Pick<ProjectorSettings, 'KAFKA_TOPIC_PREFIX' | 'REDIS_KEY_PREFIX'>) =>
  KAFKA_TOPIC_PREFIX === DEFAULT_TOPIC_PREFIX && REDIS_KEY_PREFIX === DEFAULT_KEY_PREFIX
    ? GROUP_ID
    : `${GROUP_ID}-${KAFKA_TOPIC_PREFIX}-${REDIS_KEY_PREFIX}`

export const projectorRules: readonly Rule<typeof projectorSettings>[] = [
  ...processRules,
  ...redisRules,
  ...kafkaRules,
  // Refuses QUARANTINE_RECORDS of another topic. They would be ignored silently.
  ({ QUARANTINE_RECORDS: places, KAFKA_TOPIC_PREFIX: prefix }) => {
    const { customers } = topicNames(prefix)
    const foreign = [...places].filter((place) => !place.startsWith(`${customers}/`))
    return foreign.length === 0
      ? undefined
      : `QUARANTINE_RECORDS names ${foreign.join(', ')}, but the topic is ${customers}`
  },
]
