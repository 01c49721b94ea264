import { waitUntil } from '@customer-stream/runtime'
import type { SiteTopics } from './rights.ts'
import type { Administrator } from './shared-brokers.ts'

type Env = Readonly<Record<string, string>>

const TOPIC = 2

const TOPIC_SETTINGS: Env = {
  'cleanup.policy': 'delete',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'max.message.bytes': String(1024 * 1024 + 64 * 1024),
  'min.insync.replicas': '1',
  'message.timestamp.type': 'CreateTime',
  'message.timestamp.after.max.ms': '9223372036854775807',
  'message.timestamp.before.max.ms': '9223372036854775807',
  'unclean.leader.election.enable': 'false',
}

const WEEK_MS = String(7 * 86_400_000)
/** Settings of the compacted topics. */
const STATE_SETTINGS: Env = {
  ...TOPIC_SETTINGS,
  'cleanup.policy': 'compact',
  'max.compaction.lag.ms': WEEK_MS,
  'delete.retention.ms': WEEK_MS,
  'max.message.bytes': String(5 * 1024 * 1024 + 64 * 1024),
}
const settingsOf = (topic: keyof SiteTopics) =>
  topic === 'state' || topic === 'erasures' ? STATE_SETTINGS : TOPIC_SETTINGS

const entriesOf = (settings: Env) => Object.entries(settings).map(([name, value]) => ({ name, value }))

export interface SiteAdministration {
  createTopics(...topics: readonly (keyof SiteTopics)[]): Promise<void>
  /** Changes settings of a topic. All other settings get their normal values. */
  changeTopic(topic: keyof SiteTopics, settings: Env): Promise<void>
}

/** @param administrator returns the client of the Kafka that the site uses now. */
export const createTopicAdministration = (
  administrator: () => Administrator,
  topics: SiteTopics,
  partitions: number,
): SiteAdministration => ({
  createTopics: async (...names) => {
    await administrator().createTopics({
      waitForLeaders: false,
      topics: names.map((name) => ({
        topic: topics[name],
        numPartitions: partitions,
        configEntries: entriesOf(settingsOf(name)),
      })),
    })
    await waitUntil(
      'the topics have leaders',
      () =>
        administrator()
          .fetchTopicMetadata({ topics: names.map((name) => topics[name]) })
          .catch(() => undefined),
      (metadata) => metadata?.topics.every((topic) => topic.partitions.every(({ leader }) => leader >= 0)) ?? false,
    )
  },
  changeTopic: async (topic, settings) => {
    const configEntries = entriesOf({ ...settingsOf(topic), ...settings })
    await administrator().alterConfigs({
      validateOnly: false,
      resources: [{ type: TOPIC, name: topics[topic], configEntries }],
    })
    const wanted = new Map(configEntries.map(({ name, value }) => [name, value]))
    await waitUntil(
      'the broker knows the settings',
      () =>
        administrator().describeConfigs({
          includeSynonyms: false,
          resources: [{ type: TOPIC, name: topics[topic], configNames: [...wanted.keys()] }],
        }),
      ({ resources }) =>
        resources.every(({ configEntries: has }) =>
          has.every(({ configName, configValue }) => wanted.get(configName) === configValue),
        ),
    )
  },
})
