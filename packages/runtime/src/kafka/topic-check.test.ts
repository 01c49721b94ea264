import { expect, it, vi } from 'vitest'
import { createObstacles } from '../process/blocked.ts'
import type { Logger } from '../process/log.ts'
import { createRegistry } from '../process/metrics.ts'
import { loadSettings } from '../process/settings.ts'
import {
  createDiagnose,
  createTopicWatch,
  findingLine,
  type KafkaSettings,
  kafkaSettings,
  type NewTopic,
  type TopicAdmin,
  type TopicDemand,
} from './index.ts'
import { checkTopics, inspectTopics } from './topic-check.ts'

const settings = loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:1', KAFKA_PARTITIONS: '1' })
const sound = {
  'cleanup.policy': 'delete',
  'compression.type': 'producer',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'max.message.bytes': '2000000',
  'message.timestamp.type': 'CreateTime',
  'message.timestamp.after.max.ms': '9223372036854775807',
  'message.timestamp.before.max.ms': '9223372036854775807',
  'min.insync.replicas': '2',
  'unclean.leader.election.enable': 'false',
}

/** Returns a fake Kafka with one topic. `replicas` has the replicas of each partition. */
const kafkaWith = (config: Record<string, string | undefined>, replicas: readonly number[][] = [[1, 2, 3]]) => ({
  describeTopics: async () => new Map([['t', replicas.map((each) => ({ replicas: each }))]]),
  describeTopicConfig: async () =>
    new Map(Object.entries({ ...sound, ...config }).filter(([, value]) => value !== undefined)),
})

/** Checks the topic. Returns the error message and the warnings. */
const faultsOf = async (
  config: Record<string, string | undefined>,
  replicas?: number[][],
  demand: Partial<TopicDemand> = {},
  changed: Partial<KafkaSettings> = {},
) => {
  const admin = kafkaWith(config, replicas) as unknown as TopicAdmin
  const demands = [{ topic: 't', maxValueBytes: 1_000_000, ...demand }]
  return checkTopics(admin, { ...settings, ...changed }, demands, {} as Logger).then(
    ({ warnings }) => ({ error: '', warnings: warnings.map(findingLine) }),
    ({ message }: Error) => ({ error: message, warnings: [] }),
  )
}

it('the topic check finds no problem with a correct topic', async () => {
  expect(await faultsOf({})).toEqual({ error: '', warnings: [] })
})

it.each([
  ['is compacted', { 'cleanup.policy': 'compact' }, 'cleanup.policy is compact'],
  ['deletes by age', { 'retention.ms': '604800000' }, 'retention.ms is 604800000'],
  ['deletes by size', { 'retention.bytes': '1000000' }, 'retention.bytes is 1000000'],
  ['accepts only small records', { 'max.message.bytes': '1000000' }, 'max.message.bytes is 1000000'],
  [
    'is recompressed with a codec that not every reader knows',
    { 'compression.type': 'lz4' },
    'compression.type is lz4',
  ],
  [
    'stamps records with the time of writing',
    { 'message.timestamp.type': 'LogAppendTime' },
    'message.timestamp.type is LogAppendTime',
  ],
  [
    'may be led by a replica that lags behind',
    { 'unclean.leader.election.enable': 'true' },
    'unclean.leader.election.enable must be false',
  ],
])('the topic check refuses a topic that %s', async (_, config, fault) => {
  expect((await faultsOf(config as Record<string, string>)).error).toContain(`t: ${fault}`)
})

it('the topic check refuses a topic with fewer replicas than configured', async () => {
  expect((await faultsOf({}, [[1, 2]])).error).toContain(
    't: has 2 replicas in partition 0, KAFKA_REPLICATION_FACTOR says 3',
  )
})

it('the topic check refuses min.insync.replicas above the replica count of a partition', async () => {
  const { error } = await faultsOf({ 'min.insync.replicas': '2' }, [[1]], {}, { KAFKA_REPLICATION_FACTOR: 1 })
  expect(error).toContain('t: min.insync.replicas is 2, and a partition has 1 replicas')
})

it('the topic check counts the replicas of each partition', async () => {
  const replicas = [[1, 2, 3], [1, 2, 3], [2]]
  const { error } = await faultsOf({}, replicas, {}, { KAFKA_PARTITIONS: 3 })
  expect(error).toContain('t: has 1 replicas in partition 2, KAFKA_REPLICATION_FACTOR says 3')
})

it('the topic check refuses too few partitions, and warns of too many', async () => {
  const two = [
    [1, 2, 3],
    [1, 2, 3],
  ]
  expect((await faultsOf({}, two, {}, { KAFKA_PARTITIONS: 3 })).error).toContain(
    't: has 2 partitions, KAFKA_PARTITIONS says 3',
  )
  const { error, warnings } = await faultsOf({}, two)
  expect([error, warnings]).toEqual(['', [expect.stringContaining('t: has 2 partitions, KAFKA_PARTITIONS says 1')]])
})

it('the topic check accepts an audit topic with any partition count and any limit for timestamps', async () => {
  const limited = { 'message.timestamp.after.max.ms': '3600000', 'message.timestamp.before.max.ms': '3600000' }
  for (const partitions of [2, 4]) {
    const replicas = Array.from({ length: partitions }, () => [1, 2, 3])
    const found = await faultsOf(limited, replicas, { kind: 'audit', writes: true }, { KAFKA_PARTITIONS: 3 })
    expect(found).toEqual({ error: '', warnings: [] })
  }
})

it('the minimum retention of quarantine is KAFKA_QUARANTINE_RETENTION_MS, or else KAFKA_RETENTION_MS', async () => {
  const week = { 'retention.ms': '604800000' }
  const quarantine = { kind: 'quarantine' as const }
  expect((await faultsOf(week, undefined, quarantine)).error).toContain('KAFKA_RETENTION_MS says -1')
  expect((await faultsOf(week, undefined, quarantine, { KAFKA_QUARANTINE_RETENTION_MS: 604_800_000 })).error).toBe('')
  expect((await faultsOf(week, undefined, quarantine, { KAFKA_QUARANTINE_RETENTION_MS: 604_800_001 })).error).toContain(
    'KAFKA_QUARANTINE_RETENTION_MS says 604800001',
  )
  expect((await faultsOf(week, undefined, {}, { KAFKA_QUARANTINE_RETENTION_MS: 1 })).error).toContain(
    'KAFKA_RETENTION_MS says -1',
  )
})

it.each(['producer', 'uncompressed', 'gzip', 'zstd'])(
  'the topic check accepts a topic with compression.type %s',
  async (codec) => {
    expect((await faultsOf({ 'compression.type': codec })).error).toBe('')
  },
)

it('the topic check accepts the older timestamp limit of brokers before Kafka 3.6', async () => {
  const old = { 'message.timestamp.after.max.ms': undefined, 'message.timestamp.before.max.ms': undefined }
  expect(await faultsOf({ ...old, 'message.timestamp.difference.max.ms': '9223372036854775807' })).toEqual({
    error: '',
    warnings: [],
  })
  expect((await faultsOf({ ...old, 'message.timestamp.difference.max.ms': '3600000' })).warnings).toHaveLength(2)
  // Kafka 3.6 to 3.9 has the newer limits and the older limit.
  expect((await faultsOf({ 'message.timestamp.difference.max.ms': '3600000' })).warnings).toHaveLength(2)
})

it('brokers before Kafka 3.6 get new topics without the settings that these brokers do not know', async () => {
  const created: string[][] = []
  let known = false
  const kafka = kafkaWith({ 'message.timestamp.after.max.ms': undefined })
  const admin = {
    ...kafka,
    describeTopics: async () => {
      if (!known) throw Object.assign(new Error('not here'), { type: 'UNKNOWN_TOPIC_OR_PARTITION' })
      return kafka.describeTopics()
    },
    createTopics: async ([topic]: readonly NewTopic[]) => {
      const names = Object.keys(topic!.config)
      created.push(names)
      if (names.includes('message.timestamp.after.max.ms'))
        throw Object.assign(new Error('Topic creation errors'), {
          errors: [Object.assign(new Error('no'), { type: 'INVALID_CONFIG' })],
        })
      known = true
    },
  } as unknown as TopicAdmin
  const logger = { info() {}, warn() {} } as unknown as Logger
  const creating = { ...settings, KAFKA_CREATE_TOPICS: true }
  expect(await checkTopics(admin, creating, [{ topic: 't', maxValueBytes: 1_000_000 }], logger)).toMatchObject({
    partitions: new Map([['t', 1]]),
  })
  expect(created[1]).toEqual(created[0]!.filter((name) => !/^message\.timestamp\.(after|before)\.max\.ms$/.test(name)))
})

it.each([
  ['min.insync.replicas', { 'min.insync.replicas': '1' }],
  ['min.insync.replicas', { 'min.insync.replicas': '3' }],
  ['message.timestamp.after.max.ms', { 'message.timestamp.after.max.ms': '3600000' }],
  ['message.timestamp.before.max.ms', { 'message.timestamp.before.max.ms': '3600000' }],
])('the topic check warns of a risky %s', async (name, config) => {
  const { error, warnings } = await faultsOf(config as Record<string, string>)
  expect([error, warnings]).toEqual(['', [expect.stringContaining(name)]])
})

it('timestamp limits of a changelog cause a warning only for a service that writes to the changelog', async () => {
  const config = {
    'cleanup.policy': 'compact',
    'max.compaction.lag.ms': '604800000',
    'delete.retention.ms': '604800000',
    'message.timestamp.after.max.ms': '3600000',
    'message.timestamp.before.max.ms': '3600000',
  }
  const changelog = { kind: 'changelog' as const }
  expect(await faultsOf(config, undefined, changelog)).toEqual({ error: '', warnings: [] })
  expect((await faultsOf(config, undefined, { ...changelog, writes: true })).warnings).toEqual([
    expect.stringMatching(/after\.max\.ms is limited: the projector .* would wait\. Set it to 9223372036854775807$/),
    expect.stringMatching(/before\.max\.ms is limited: the projector .* would wait\. Set it to 9223372036854775807$/),
  ])
})

it('the topic check waits until the broker knows a new topic and its leaders', async () => {
  const kafka = kafkaWith({})
  const unheard = [true, true]
  const leaders = [-1, 2]
  const admin = {
    ...kafka,
    createTopics: async () => undefined,
    describeTopics: async () => {
      if (unheard.pop()) throw Object.assign(new Error('not here'), { type: 'UNKNOWN_TOPIC_OR_PARTITION' })
      const leader = leaders.shift() ?? 2
      return new Map([['t', [{ replicas: [1, 2, 3], leader }]]])
    },
  } as unknown as TopicAdmin
  const logger = { info() {} } as unknown as Logger
  const creating = { ...settings, KAFKA_CREATE_TOPICS: true }
  expect(await checkTopics(admin, creating, [{ topic: 't', maxValueBytes: 1_000_000 }], logger)).toMatchObject({
    partitions: new Map([['t', 1]]),
  })
  expect(leaders).toEqual([])
})

it('a service checks each topic once at start, and logs each warning once', async () => {
  const admin = kafkaWith({ 'min.insync.replicas': '1' }) as unknown as TopicAdmin
  const describeTopicConfig = vi.spyOn(admin, 'describeTopicConfig')
  const warnings: string[] = []
  const logger = { warn: (message: string) => warnings.push(message) } as unknown as Logger
  const watch = createTopicWatch({
    admin,
    settings,
    logger,
    demands: [{ topic: 't', maxValueBytes: 1_000_000, writes: true }],
    writeCheck: { connect: async () => undefined, check: async () => undefined, disconnect: async () => undefined },
    obstacles: createObstacles(createRegistry('test'), logger),
    diagnose: createDiagnose(settings),
    onPartitions: async () => undefined,
  })
  await watch.start()
  await watch.checkRights()
  expect(describeTopicConfig).toHaveBeenCalledOnce()
  await watch.check()
  expect(warnings).toEqual(watch.warnings)
  expect(warnings.length).toBe(1)
})

const WEEK = '604800000'
const changelog = { 'cleanup.policy': 'compact', 'max.compaction.lag.ms': WEEK, 'delete.retention.ms': WEEK }

it('the topic check accepts a compacted changelog with any retention', async () => {
  const config = { ...changelog, 'retention.ms': '1', 'retention.bytes': '1' }
  expect(await faultsOf(config, undefined, { kind: 'changelog' })).toEqual({ error: '', warnings: [] })
})

it.each([
  ['is not compacted', { 'cleanup.policy': 'delete' }, 'cleanup.policy is delete, must be compact'],
  ['also deletes by age', { 'cleanup.policy': 'compact,delete' }, 'cleanup.policy is compact,delete, must be compact'],
  ['is compacted too late', { 'max.compaction.lag.ms': '604800001' }, 'max.compaction.lag.ms is 604800001'],
  ['removes tombstones too early', { 'delete.retention.ms': '604799999' }, 'delete.retention.ms is 604799999'],
])('the topic check refuses a changelog that %s', async (_, config, fault) => {
  const { error } = await faultsOf({ ...changelog, ...(config as object) }, undefined, { kind: 'changelog' })
  expect(error).toContain(`t: ${fault}`)
})

it('the topic check refuses a topic whose partition count differs from its raw topic', async () => {
  const counts = { raw: 2, state: 1 }
  const admin = {
    describeTopics: async ([topic]: [keyof typeof counts]) =>
      new Map([[topic, Array.from({ length: counts[topic] }, () => ({ replicas: [1, 2, 3] }))]]),
    describeTopicConfig: async (topic: string) =>
      new Map(Object.entries(topic === 'raw' ? sound : { ...sound, ...changelog })),
  } as unknown as TopicAdmin
  const check = () =>
    checkTopics(
      admin,
      settings,
      [
        { topic: 'raw', maxValueBytes: 1 },
        { topic: 'state', maxValueBytes: 1, kind: 'changelog', partitionsOf: 'raw' },
      ],
      {} as Logger,
    )
  await expect(check()).rejects.toThrow('state: has 1 partitions, but raw has 2. Both topics must have the same number')
  counts.state = 2
  await expect(check()).resolves.toMatchObject({ problems: [] })
})

it('inspectTopics names the setting and the value that correct a problem', async () => {
  const config = { 'retention.ms': '1', 'cleanup.policy': 'compact', 'min.insync.replicas': '1' }
  const admin = kafkaWith(config) as unknown as TopicAdmin
  const { problems, warnings } = await inspectTopics(admin, settings, [{ topic: 't', maxValueBytes: 1 }])
  expect(problems.map(({ correction }) => correction)).toEqual([
    { name: 'cleanup.policy', value: 'delete' },
    { name: 'retention.ms', value: '-1' },
  ])
  expect(warnings.map(({ correction }) => correction)).toEqual([{ name: 'min.insync.replicas', value: '2' }])
})

it('inspectTopics suggests no setting for a missing replica', async () => {
  const admin = kafkaWith({ 'min.insync.replicas': '2' }, [[1]]) as unknown as TopicAdmin
  const { problems } = await inspectTopics(admin, settings, [{ topic: 't', maxValueBytes: 1 }])
  expect(problems.map(({ text, correction }) => [text.split(' ', 2).join(' '), correction])).toEqual([
    ['has 1', undefined],
    ['min.insync.replicas is', undefined],
  ])
})

it('inspectTopics can continue after a topic that the user may not describe', async () => {
  const kafka = kafkaWith({})
  const denied = Object.assign(new Error('no'), { type: 'TOPIC_AUTHORIZATION_FAILED' })
  const admin = {
    ...kafka,
    describeTopics: async ([topic]: readonly string[]) => {
      if (topic === 'secret') throw denied
      return kafka.describeTopics()
    },
  } as unknown as TopicAdmin
  const demands = ['secret', 't'].map((topic) => ({ topic, maxValueBytes: 1 }))
  await expect(inspectTopics(admin, settings, demands)).rejects.toMatchObject({ type: denied.type })
  const seen: string[] = []
  const { partitions } = await inspectTopics(admin, settings, demands, (topic) => void seen.push(topic))
  expect([seen, [...partitions.keys()]]).toEqual([['secret'], ['t']])
})
