import { expect, it, vi } from 'vitest'
import { createLogger } from '../process/log.ts'
import { loadSettings } from '../process/settings.ts'
import { createKafka } from './client.ts'
import { kafkaSettings } from './settings.ts'
import { administratorOf, createAdmin } from './topic-admin.ts'

/** Creates an admin client. `answers` replaces methods of kafkajs' admin client. */
const setUp = (answers: Partial<Record<keyof ReturnType<typeof administratorOf>, (...args: never[]) => unknown>>) => {
  const settings = loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:9092' })
  const admin = createAdmin(createKafka(settings, { clientId: 'test', logger: createLogger('test', 'silent') }))
  Object.assign(administratorOf(admin), answers)
  return admin
}

it('describeTopics returns the partitions of each topic, with the leader and all replicas', async () => {
  const partition = { partitionId: 3, leader: -1, replicas: [1, 2], isr: [2], partitionErrorCode: 5 }
  const admin = setUp({ fetchTopicMetadata: async () => ({ topics: [{ name: 't', partitions: [partition] }] }) })
  expect(await admin.describeTopics(['t'])).toEqual(new Map([['t', [{ partition: 3, leader: -1, replicas: [1, 2] }]]]))
})

it('describeTopicConfig returns only the requested settings', async () => {
  const describeConfigs = vi.fn(async () => ({
    resources: [
      { resourceName: 't', configEntries: [{ configName: 'retention.ms', configValue: '7', isDefault: true }] },
    ],
  }))
  const admin = setUp({ describeConfigs })
  expect(await admin.describeTopicConfig('t', ['retention.ms'])).toEqual(new Map([['retention.ms', '7']]))
  expect(describeConfigs).toHaveBeenCalledWith({
    includeSynonyms: false,
    resources: [{ type: 2, name: 't', configNames: ['retention.ms'] }],
  })
})
