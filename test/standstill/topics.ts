import { waitUntil } from '@customer-stream/runtime'
import { fetchEnds } from '@customer-stream/runtime/kafka'
import { positionField } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import type { ServiceName } from '@customer-stream/testing'
import type { SiteTopics } from './rights.ts'
import { blocked, type Scenario } from './scenario.ts'
import { type Site, withoutLogin } from './site.ts'

const SERVICES = ['ingress', 'projector'] as const

/** Stores 20 events in every partition. */
const fillPartitions = async (site: Site): Promise<void> => {
  for (let partition = 0; partition < site.partitions; partition++) {
    await site.produce(
      Array.from({ length: 20 }, () => makeCustomersEvent()),
      partition,
    )
  }
}

/**
 * Waits until every partition has a position above 0, and then replaces all records. Each partition
 * then has more records than before. So each old position is the offset of a new record.
 */
const replaceRecords = async (site: Site, replace: () => Promise<void>): Promise<void> => {
  await fillPartitions(site)
  await site.untilApplied()
  await replace()
  site.acknowledged.length = 0
  for (let i = 0; i < 2; i++) await fillPartitions(site)
}

const stopAll = (site: Site) => Promise.all(SERVICES.map((service) => site[service].stop()))
const startAll = (site: Site) => Promise.all(SERVICES.map((service) => site[service].start()))

const moveToAnotherCluster = (site: Site) =>
  replaceRecords(site, async () => {
    await stopAll(site)
    const address = await site.moveToNewKafka()
    await site.createTopics('customers', 'other', 'quarantine', 'state', 'erasures')
    for (const service of SERVICES) site[service].configure(withoutLogin(address))
  })

/** Scenario: a setting of a topic becomes wrong while both services run. */
const setWrongFor = (
  service: ServiceName,
  name: string,
  topic: keyof SiteTopics,
  setting: string,
  value: string,
  ...says: readonly RegExp[]
): Scenario => ({
  name,
  break: (site) => site.changeTopic(topic, { [setting]: value }),
  symptoms: [{ of: service, says }, blocked(service)],
  repair: (site) => site.changeTopic(topic, {}),
})
const setWrong = (
  name: string,
  topic: keyof SiteTopics,
  setting: string,
  value: string,
  ...says: readonly RegExp[]
): Scenario => setWrongFor('ingress', name, topic, setting, value, ...says)

const deleted = (
  name: string,
  topic: keyof SiteTopics,
  options: Pick<Scenario, 'symptoms' | 'destroys'>,
): Scenario => ({
  name,
  break: async (site) => site.administrator.deleteTopics({ topics: [site.topics[topic]] }),
  repair: (site) => site.createTopics(topic),
  ...options,
})

/** Scenario: a projector finds an invalid position when it starts. */
const strangePosition = (name: string, position: string): Scenario => ({
  name,
  break: async (site) => {
    await site.projector.stop()
    await site.redis.hset(site.positionsKey, positionField(site.topics.customers, 0), position)
    await site.projector.start()
    await site.produce([makeCustomersEvent()], 0)
  },
  symptoms: [{ of: 'projector', says: [/position/] }],
  mayRecover: true,
  repair: async (site) => {
    const field = positionField(site.topics.customers, 0)
    if ((await site.redis.hget(site.positionsKey, field)) === position) await site.redis.hdel(site.positionsKey, field)
  },
})

export const topics: readonly Scenario[] = [
  {
    name: 'another Kafka cluster is used with the same Redis',
    break: async (site) => {
      await moveToAnotherCluster(site)
      await startAll(site)
    },
    symptoms: [{ of: 'projector', says: [/cluster/, /ON_CLUSTER_CHANGE/] }, blocked('projector')],
    repair: async (site) => {
      await site.projector.stop()
      site.projector.configure({ ON_CLUSTER_CHANGE: 'start-over' })
      await site.projector.start()
    },
  },
  {
    name: 'another Kafka cluster is used with the same Redis, and the projector may start over',
    options: { env: () => ({ projector: { ON_CLUSTER_CHANGE: 'start-over' } }) },
    break: async (site) => {
      await moveToAnotherCluster(site)
      await startAll(site)
    },
  },
  {
    name: 'the customers topic is deleted and created again while the projector is stopped',
    break: async (site) => {
      await replaceRecords(site, async () => {
        await stopAll(site)
        await site.administrator.deleteTopics({ topics: [site.topics.customers] })
        await site.createTopics('customers')
      })
      await startAll(site)
    },
    symptoms: [{ of: 'projector', says: [/customers\.raw/] }],
    mayRecover: true,
  },
  {
    name: 'the customers topic is deleted and created again while both services run',
    break: async (site) =>
      replaceRecords(site, async () => {
        await site.administrator.deleteTopics({ topics: [site.topics.customers] })
        await site.createTopics('customers')
      }),
    symptoms: [{ of: 'projector', says: [/customers\.raw/] }],
    mayRecover: true,
  },
  deleted('the customers topic is deleted while both services run, and created again later', 'customers', {
    symptoms: SERVICES.map((of) => ({ of, says: [/customers\.raw/] })),
    destroys: true,
  }),
  deleted('the quarantine topic is deleted while both services run', 'quarantine', {
    symptoms: SERVICES.map((of) => ({ of, says: [/quarantine/] })),
  }),
  deleted('the other topic is deleted while both services run', 'other', {
    symptoms: [{ of: 'ingress', says: [/other\.raw/] }],
  }),
  deleted('the state topic is deleted while both services run', 'state', {
    symptoms: [{ of: 'projector', says: [/customers\.state/] }],
  }),
  deleted('the erasures topic is deleted while both services run', 'erasures', {
    symptoms: [{ of: 'projector', says: [/customers\.erasures/] }],
  }),
  setWrongFor(
    'projector',
    'the state topic is no longer compacted',
    'state',
    'cleanup.policy',
    'delete',
    /customers\.state/,
    /cleanup\.policy/,
  ),
  setWrongFor(
    'projector',
    'the state topic accepts only small records',
    'state',
    'max.message.bytes',
    '500',
    /customers\.state/,
    /max\.message\.bytes/,
  ),
  setWrong(
    'the customers topic becomes compacted',
    'customers',
    'cleanup.policy',
    'compact',
    /customers\.raw/,
    /cleanup\.policy/,
  ),
  setWrong(
    'the customers topic loses its retention',
    'customers',
    'retention.ms',
    '3600000',
    /customers\.raw/,
    /retention\.ms/,
  ),
  setWrong('quarantine becomes compacted', 'quarantine', 'cleanup.policy', 'compact', /quarantine/, /cleanup\.policy/),
  {
    ...setWrong(
      'the customers topic accepts only small records',
      'customers',
      'max.message.bytes',
      '500',
      /customers\.raw/,
      /max\.message\.bytes/,
    ),
    // Records that Kafka refuses go to quarantine, so acknowledged events may be missing in Redis.
    destroys: true,
  },
  {
    name: 'records are deleted before the projector has read them',
    break: async (site) => {
      await site.projector.stop()
      await fillPartitions(site)
      const ends = await site.admin.fetchTopicOffsets(site.topics.customers)
      const partitions = ends.map(({ partition, high }) => ({ partition, offset: high }))
      await site.administrator.deleteTopicRecords({ topic: site.topics.customers, partitions })
      site.acknowledged.length = 0
      await site.projector.start()
    },
    symptoms: [{ of: 'projector', metric: /^projector_lost_records_total$/, above: 59 }],
  },
  {
    name: 'partitions are added to the customers topic while both services run',
    break: async (site) => {
      await site.administrator.createPartitions({
        topicPartitions: [site.topics.state, site.topics.erasures, site.topics.customers].map((topic) => ({
          topic,
          count: site.partitions + 1,
        })),
      })
      // kafkajs drops a record for a partition that it does not know, without an error.
      await waitUntil(
        'the broker knows the new partition',
        () => fetchEnds(site.admin, site.topics.customers),
        ({ length }) => length === site.partitions + 1,
      )
      await site.produce([makeCustomersEvent()], site.partitions)
    },
    // A consumer notices new partitions only when it fetches metadata, every 30 s.
    symptoms: [{ of: 'projector', says: [/customers\.raw\/3/] }],
    mayRecover: true,
    holds: async (site) => {
      await site.untilApplied()
      await stopAll(site)
      await startAll(site)
    },
  },
  {
    name: 'partitions are added to the customers topic only',
    break: async (site) => {
      await site.administrator.createPartitions({
        topicPartitions: [{ topic: site.topics.customers, count: site.partitions + 1 }],
      })
    },
    symptoms: [
      {
        of: 'projector',
        says: [/customers\.state: has 3 partitions/, /customers\.erasures: has 3 partitions/, /customers\.raw has 4/],
      },
      blocked('projector'),
    ],
    repair: async (site) => {
      await site.administrator.createPartitions({
        topicPartitions: [site.topics.state, site.topics.erasures].map((topic) => ({
          topic,
          count: site.partitions + 1,
        })),
      })
    },
  },
  {
    name: 'the names of the topics collide with names of another prefix',
    atStart: true,
    break: async (site) => {
      // Kafka treats dots and underscores in topic names as equal.
      const KAFKA_TOPIC_PREFIX = site.topics.customers.replace(/\.customers\.raw$/, '_')
      for (const service of SERVICES)
        site[service].configure({
          ...withoutLogin(site.shared.brokers.kafka.admin),
          KAFKA_TOPIC_PREFIX,
          KAFKA_CREATE_TOPICS: 'true',
        })
    },
    symptoms: [{ of: 'ingress', says: [/_customers\.raw/, /KAFKA_TOPIC_PREFIX|collide/] }],
    repair: async (site) => {
      await stopAll(site)
      for (const service of SERVICES) site[service].correct()
      await startAll(site)
    },
  },
  strangePosition('a position is not a number', 'twelve'),
  strangePosition('a position is beyond the end of its partition', '1000000000'),
  strangePosition('a position is negative', '-7'),
  {
    name: 'the topics do not exist under this prefix',
    atStart: true,
    break: async (site) => {
      for (const service of SERVICES)
        site[service].configure({ ...withoutLogin(site.shared.brokers.kafka.admin), KAFKA_TOPIC_PREFIX: 'misspelt.' })
    },
    symptoms: SERVICES.map((of) => ({
      of,
      says: [/misspelt\.customers\.raw/, /KAFKA_CREATE_TOPICS|KAFKA_TOPIC_PREFIX/],
    })),
    repair: async (site) => {
      await stopAll(site)
      for (const service of SERVICES) site[service].correct()
      await startAll(site)
    },
  },
]
