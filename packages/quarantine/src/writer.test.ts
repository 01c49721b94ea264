import { loadSettings } from '@customer-stream/runtime'
import { kafkaSettings, type TopicAdmin } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import { requireAudit } from './writer.ts'

const TOPIC = 't.quarantine.audit'
const GOOD = {
  'cleanup.policy': 'delete',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'compression.type': 'producer',
  'message.timestamp.type': 'CreateTime',
  'unclean.leader.election.enable': 'false',
}
const settings = loadSettings(kafkaSettings, {
  KAFKA_BROKERS: 'kafka:9092',
  KAFKA_TOPIC_PREFIX: 't.',
  KAFKA_REPLICATION_FACTOR: '1',
})
/** Checks an existing audit topic with these settings. */
const check = (config: Readonly<Record<string, string>> | Error) => {
  const admin = {
    describeTopics: async () => new Map([[TOPIC, [{ partition: 0, leader: 1, replicas: [1] }]]]),
    describeTopicConfig: async () => {
      if (config instanceof Error) throw config
      return new Map(Object.entries(config))
    },
  } as unknown as TopicAdmin
  return requireAudit({ admin }, settings, { auditTopic: TOPIC, audit: { exists: true } })
}

it.each([{ 'cleanup.policy': 'compact' }, { 'retention.ms': '60000' }])(
  'an audit topic that can lose entries is refused: %j',
  async (wrong) => {
    await expect(check({ ...GOOD, ...wrong })).rejects.toThrow(`- ${Object.entries(wrong)[0]?.join(' is ')}, `)
  },
)

it('an audit topic that keeps all entries is accepted', async () => {
  await check(GOOD)
})

it('the audit topic is refused if the user may not read its settings', async () => {
  const denied = Object.assign(new Error('denied'), { type: 'TOPIC_AUTHORIZATION_FAILED' })
  await expect(check(denied)).rejects.toThrow('denied')
})
