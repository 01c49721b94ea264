import { brokers, type Mutation, unit } from './mutation.ts'

const folder = 'packages/runtime/src/kafka'
const intTest = (title: string) => brokers(`${folder}/kafka.int.test.ts`, title)
const accessTest = (title: string) =>
  ({ project: 'standstill', file: `${folder}/diagnosis.int.test.ts`, title }) as const

export const kafkaTopicMutations: readonly Mutation[] = [
  {
    rule: 'the ids of topics are read without a refresh of the metadata',
    prevents: 'twice as many requests of an idle projector for its three topics',
    file: `${folder}/topic-identity.ts`,
    from: 'if (Object.keys(brokerPool.brokers).length === 0) ',
    to: '',
    test: brokers(
      `${folder}/topic-identity.int.test.ts`,
      'each read of a topic’s id sends one request, even if the ids of several topics are read',
    ),
  },
  {
    rule: 'a start waits for the topics that it has created',
    prevents: 'a start that fails because a broker does not know the new topic yet',
    file: `${folder}/topic-check.ts`,
    from: 'await retryWithBackoff(',
    to: 'void retryWithBackoff(',
    test: unit(
      `${folder}/topic-check.test.ts`,
      'the topic check waits until the broker knows a new topic and its leaders',
    ),
  },
  {
    rule: 'topics accept records with any timestamp',
    prevents: 'an ingress that stores nothing because its clock is ahead',
    file: `${folder}/topic-rules.ts`,
    from: 'TIMESTAMP_LIMITS.map(',
    to: 'TIMESTAMP_LIMITS.slice(1).map(',
    test: intTest("the producer stores key, value, headers and time, in the partition that Java's partitioner selects"),
  },
  {
    rule: 'topics accept a body of exactly the limit',
    prevents: 'records that Kafka refuses although the ingress has accepted their bodies',
    file: `${folder}/topic-rules.ts`,
    from: 'RECORD_OVERHEAD_BYTES = 64 * 1024',
    to: 'RECORD_OVERHEAD_BYTES = 0',
    test: intTest('the producer accepts a body of exactly the maximum size'),
  },
  {
    rule: 'a state topic has the partition count of its events',
    prevents: 'a customer whose documents are in another partition than the events',
    file: `${folder}/topic-check.ts`,
    from: 'own !== other)',
    to: 'own === -1)',
    test: unit(
      `${folder}/topic-check.test.ts`,
      'the topic check refuses a topic whose partition count differs from its raw topic',
    ),
  },
  {
    rule: 'a topic with too few replicas is refused',
    prevents: 'acknowledged records on fewer brokers than configured',
    file: `${folder}/topic-rules.ts`,
    from: 'if (fewest < settings.KAFKA_REPLICATION_FACTOR)',
    to: 'if (false)',
    test: unit(`${folder}/topic-check.test.ts`, 'the topic check refuses a topic with fewer replicas than configured'),
  },
  {
    rule: 'a topic that a lagging replica may lead is refused',
    prevents: 'the loss of acknowledged records that the lagging leader does not have',
    file: `${folder}/topic-rules.ts`,
    from: `if (config.get('unclean.leader.election.enable') !== 'false')`,
    to: 'if (false)',
    test: unit(`${folder}/topic-check.test.ts`, 'a replica that lags behind'),
  },
  {
    rule: 'a broker that has answered before and now closes connections is an outage',
    prevents: 'an alarm for a person, and slow retries, while a broker behind a proxy is down',
    file: `${folder}/diagnosis.ts`,
    from: '|| isKnownToAnswer(settings, request.broker)) return undefined',
    to: ') return undefined',
    test: accessTest('a proxy that worked before and now closes plain text connections'),
  },
  {
    rule: 'produce requests of our producers are encoded in one pass',
    prevents: 'a sixth more CPU for each accepted event',
    file: `${folder}/patches/index.ts`,
    from: '\n  patchProduceRequest()',
    to: '',
    test: unit(
      `${folder}/patches/produce-request.test.ts`,
      'the patch encodes our produce requests of version 3 and later',
    ),
  },
  {
    rule: 'the topic check uses the partition with the fewest replicas',
    prevents: 'acknowledged events on only one broker',
    file: `${folder}/topic-rules.ts`,
    from: 'const fewest = Math.min(...replicas)',
    to: 'const fewest = replicas[0] ?? 0',
    test: unit(`${folder}/topic-check.test.ts`, 'the topic check counts the replicas of each partition'),
  },
  {
    rule: "the topic check expects quarantine's own retention if it is set, otherwise the retention of the raw topics",
    prevents: 'personal data that never expires',
    file: `${folder}/topic-rules.ts`,
    from: `kind === 'quarantine' && settings.KAFKA_QUARANTINE_RETENTION_MS !== undefined`,
    to: `kind === 'changelog' && settings.KAFKA_QUARANTINE_RETENTION_MS !== undefined`,
    test: unit(
      `${folder}/topic-check.test.ts`,
      'the minimum retention of quarantine is KAFKA_QUARANTINE_RETENTION_MS, or else KAFKA_RETENTION_MS',
    ),
  },
]
