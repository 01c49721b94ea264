import { randomUUID } from 'node:crypto'
import { waitUntil } from '@customer-stream/runtime'
import { customerKey } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf } from '@customer-stream/testing'
import { type Scenario, type Symptom, saidBy } from './scenario.ts'
import type { SharedBrokers } from './shared-brokers.ts'
import { type Site, withoutLogin } from './site.ts'
import type { SupervisedService } from './supervised-service.ts'

type Env = Readonly<Record<string, string>>

/** Returns the settings of a second installation on the same Kafka and Redis. */
const staging = (shared: SharedBrokers, changes: Env = {}): Env => ({
  ...withoutLogin(shared.brokers.kafka.admin),
  REDIS_URL: shared.brokers.redisUrl,
  REDIS_KEY_PREFIX: `staging-${randomUUID()}:`,
  ...changes,
})

/**
 * Scenario: a second projector joins the group of the site's projector. One of the two projectors
 * must report the other.
 */
const intruder = (name: string, changes: (site: Site) => Env): Scenario => {
  const others = new WeakMap<Site, SupervisedService>()
  return {
    name,
    break: async (site) => {
      others.set(site, await site.startAnother('projector', staging(site.shared, changes(site))))
    },
    symptoms: [
      {
        see: async (site) => {
          const words = [new RegExp(site.group), /CONSUMER_GROUP_ID/]
          return (await saidBy(site.projector, words)) ?? (await saidBy(others.get(site)!, words))
        },
      },
    ],
    repair: async (site) => others.get(site)?.stop(),
  }
}

/** Scenario: a consumer that is not a projector joins the group. */
const foreignConsumer = (
  name: string,
  options: { readonly topic: 'customers' | 'other'; readonly protocol?: string; readonly atStart?: boolean },
) => {
  const leave = new WeakMap<Site, () => Promise<void>>()
  const { topic, protocol, atStart = false } = options
  const assigner = () => ({
    name: protocol ?? 'RoundRobinAssigner',
    version: 0,
    protocol: () => ({ name: protocol ?? 'RoundRobinAssigner', metadata: Buffer.alloc(0) }),
    assign: async () => [],
  })
  const scenario: Scenario = {
    name,
    atStart,
    break: async (site) => {
      const consumer = kafkajsOf(site.kafka).consumer({
        groupId: site.group,
        ...(protocol && { partitionAssigners: [assigner] }),
      })
      const joined = Promise.withResolvers<void>()
      consumer.on(consumer.events.GROUP_JOIN, () => joined.resolve())
      await consumer.connect()
      await consumer.subscribe({ topics: [site.topics[topic]] })
      await consumer.run({ eachMessage: async () => undefined })
      leave.set(site, () => consumer.disconnect())
      site.onClose(() => consumer.disconnect())
      await joined.promise
    },
    symptoms: [{ of: 'projector', says: [/s[0-9a-f]{8}-projector/, /CONSUMER_GROUP_ID/] }],
    repair: async (site) => leave.get(site)?.(),
  }
  return scenario
}

/**
 * Returns the number of partitions that have a lag metric in any of these services, and the largest
 * lag.
 */
const lagOf = async (...services: readonly SupervisedService[]) => {
  const samples = (await Promise.all(services.map((service) => service.metrics())))
    .flat()
    .filter(({ name }) => name === 'kafka_consumergroup_lag')
  return {
    partitions: new Set(samples.map(({ labels }) => labels.partition)).size,
    lag: Math.max(0, ...samples.map(({ value }) => value)),
  }
}

const lagShowsEverything: Symptom = {
  see: async (site) => {
    const { partitions, lag } = await lagOf(site.projector)
    return partitions === site.partitions && lag > 0 ? `projector: lag of ${partitions} partitions` : undefined
  },
}

const others = new WeakMap<Site, SupervisedService>()

export const groups: readonly Scenario[] = [
  intruder('two installations with different topics share a group', (site) => ({
    KAFKA_TOPIC_PREFIX: `staging-${randomUUID()}.`,
    KAFKA_CREATE_TOPICS: 'true',
    CONSUMER_GROUP_ID: site.group,
  })),
  intruder('two installations with different keys share a group', (site) => ({ CONSUMER_GROUP_ID: site.group })),
  {
    name: 'two installations with different keys and no group id are independent',
    options: {
      env: (shared) => ({ projector: { ...withoutLogin(shared.brokers.kafka.admin), CONSUMER_GROUP_ID: '' } }),
    },
    break: async (site) => {
      const env = staging(site.shared)
      const other = await site.startAnother('projector', env)
      const { event } = await site.post(makeCustomersEvent())
      await waitUntil(
        'the other installation applies the event',
        () => site.redis.hget(customerKey(event.customerUuid, env.REDIS_KEY_PREFIX), '_eventId'),
        (id) => id === event.id,
      )
      others.set(site, other)
    },
    holds: async (site) => {
      await waitUntil(
        'the other installation is ready',
        () => others.get(site)!.readiness(),
        ({ ready }) => ready,
      )
    },
  },
  {
    name: 'the group has an id of 300 characters',
    options: {
      env: (shared) => ({
        projector: { ...withoutLogin(shared.brokers.kafka.admin), CONSUMER_GROUP_ID: 'g'.repeat(300) },
      }),
    },
    break: async () => undefined,
  },
  {
    name: 'the group has no coordinator, because its topic cannot be created',
    options: { privateKafka: { 'offsets.topic.replication.factor': '3' } },
    atStart: true,
    break: async () => undefined,
    symptoms: [
      { of: 'projector', says: [/coordinator/, /offsets\.topic\.replication\.factor|__consumer_offsets/] },
      lagShowsEverything,
    ],
    repair: async (site) => {
      const configEntries = [{ name: 'cleanup.policy', value: 'compact' }]
      await site.administrator.createTopics({
        waitForLeaders: false,
        topics: [{ topic: '__consumer_offsets', numPartitions: 1, replicationFactor: 1, configEntries }],
      })
    },
  },
  {
    name: 'the lag of every partition is shown while no projector owns the partition',
    atStart: true,
    break: (site) => site.revoke('projector', 'READ', 'group'),
    symptoms: [lagShowsEverything],
    repair: (site) => site.grant('projector', 'READ', 'group'),
  },
  foreignConsumer('a consumer of another topic joins the group', { topic: 'other' }),
  {
    ...foreignConsumer('another consumer of the customers topic joins the group', { topic: 'customers' }),
    symptoms: [{ of: 'projector', says: [/customers\.raw\/\d/, /standstill at .* owns it/] }],
  },
  foreignConsumer('the group belongs to consumers of another protocol', {
    topic: 'other',
    protocol: 'StrangeAssigner',
    atStart: true,
  }),
  {
    name: 'a person resets the offsets of the group, then deletes the group, while the projector is stopped',
    break: async (site) => {
      await site.projector.stop()
      const partitions = Array.from({ length: site.partitions }, (_, partition) => ({ partition, offset: '0' }))
      await site.administrator.setOffsets({ groupId: site.group, topic: site.topics.customers, partitions })
      await site.projector.start()
      await waitUntil(
        'the projector is ready',
        () => site.projector.readiness(),
        ({ ready }) => ready,
      )
      await site.projector.stop()
      await site.administrator.deleteGroups([site.group])
      await site.projector.start()
    },
  },
  {
    name: 'a projector without partitions is ready, and gets the partitions when the other projector stops',
    options: { partitions: 1 },
    break: async (site) => {
      const standby = await site.startAnother('projector')
      others.set(site, standby)
      await waitUntil(
        'both projectors are ready',
        () => Promise.all([site.projector, standby].map((service) => service.readiness())),
        (seen) => seen.every(({ ready }) => ready),
      )
    },
    holds: async (site) => {
      await site.projector.stop()
      await site.post()
      await site.untilApplied()
      await site.projector.start()
      await waitUntil(
        'both projectors are ready, one of them without partitions',
        () => Promise.all([site.projector, others.get(site)!].map((service) => service.readiness())),
        (seen) => seen.every(({ ready }) => ready),
      )
      await waitUntil(
        'a projector shows the lag',
        () => lagOf(site.projector, others.get(site)!),
        ({ partitions }) => partitions === site.partitions,
      )
    },
  },
]
