import { expect, it } from 'vitest'
import type { Logger } from '../log.ts'
import { loadSettings } from '../settings.ts'
import { type Admin, kafkaSettings } from './index.ts'
import { checkTopics } from './topic-check.ts'

const settings = loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:1', KAFKA_PARTITIONS: '1' })
const sound = {
  'cleanup.policy': 'delete',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'max.message.bytes': '2000000',
  'message.timestamp.type': 'CreateTime',
  'message.timestamp.after.max.ms': '9223372036854775807',
  'min.insync.replicas': '2',
  'unclean.leader.election.enable': 'false',
}

/** Kafka with a topic of one partition that is like this. */
const kafkaWith = (config: Record<string, string>, replicas = [1, 2, 3]) => ({
  fetchTopicMetadata: async () => ({ topics: [{ name: 't', partitions: [{ replicas }] }] }),
  describeConfigs: async () => ({
    resources: [
      {
        resourceName: 't',
        configEntries: Object.entries({ ...sound, ...config }).map(([configName, configValue]) => ({ configName, configValue })),
      },
    ],
  }),
})

/** What is said of it. */
const faultsOf = async (config: Record<string, string>, replicas?: number[]) => {
  const warnings: string[] = []
  const admin = kafkaWith(config, replicas) as unknown as Admin
  const logger = { warn: (_: object, message: string) => warnings.push(message) } as unknown as Logger
  const error = await checkTopics(admin, settings, [{ topic: 't', maxValueBytes: 1_000_000 }], logger).then(
    () => '',
    ({ message }: Error) => message,
  )
  return { error, warnings }
}

it('finds nothing wrong with a topic that is as it must be', async () => {
  expect(await faultsOf({})).toEqual({ error: '', warnings: [] })
})

it.each([
  ['is compacted', { 'cleanup.policy': 'compact' }, 'cleanup.policy is compact'],
  ['deletes by age', { 'retention.ms': '604800000' }, 'retention.ms is 604800000'],
  ['deletes by size', { 'retention.bytes': '1000000' }, 'retention.bytes is 1000000'],
  ['takes only small records', { 'max.message.bytes': '1000000' }, 'max.message.bytes is 1000000'],
  ['stamps records with the time of writing', { 'message.timestamp.type': 'LogAppendTime' }, 'message.timestamp.type is LogAppendTime'],
  [
    'may be led by a replica that lags behind',
    { 'unclean.leader.election.enable': 'true' },
    'unclean.leader.election.enable must be false',
  ],
])('refuses a topic that %s', async (_, config, fault) => {
  expect((await faultsOf(config as Record<string, string>)).error).toContain(`t: ${fault}`)
})

it('refuses a topic with fewer replicas than a promise needs', async () => {
  expect((await faultsOf({}, [1, 2])).error).toContain('t: has 2 replicas, KAFKA_REPLICATION_FACTOR says 3')
})

it.each([
  ['min.insync.replicas', { 'min.insync.replicas': '1' }],
  ['message.timestamp.after.max.ms', { 'message.timestamp.after.max.ms': '3600000' }],
])('warns of a doubtful %s', async (name, config) => {
  const { error, warnings } = await faultsOf(config as Record<string, string>)
  expect([error, warnings]).toEqual(['', [expect.stringContaining(name)]])
})

it('waits for a topic that it has made until the broker it asks has heard of it, and of its leaders', async () => {
  const kafka = kafkaWith({})
  const unheard = [true, true, true]
  const leaders = [-1, 2]
  const admin = {
    ...kafka,
    createTopics: async () => true,
    fetchTopicMetadata: async () => {
      if (unheard.pop()) throw Object.assign(new Error('not here'), { type: 'UNKNOWN_TOPIC_OR_PARTITION' })
      const leader = leaders.shift() ?? 2
      return { topics: [{ name: 't', partitions: [{ replicas: [1, 2, 3], leader }] }] }
    },
  } as unknown as Admin
  const logger = { info() {} } as unknown as Logger
  const creating = { ...settings, KAFKA_CREATE_TOPICS: true }
  expect(await checkTopics(admin, creating, [{ topic: 't', maxValueBytes: 1_000_000 }], logger)).toEqual(new Map([['t', 1]]))
  expect(leaders).toEqual([])
})
