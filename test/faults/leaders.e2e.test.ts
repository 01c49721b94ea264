import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ReadinessCheck } from '@customer-stream/runtime'
import { waitUntil } from '@customer-stream/runtime'
import { fetchEnds } from '@customer-stream/runtime/kafka'
import { customerKey, partitionOf } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import {
  type ClusterBroker,
  type KafkaCluster,
  openPipeline,
  type ServiceProcess,
  startCluster,
} from '@customer-stream/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

let cluster: KafkaCluster
beforeAll(async () => {
  cluster = await startCluster()
})
afterAll(() => cluster?.stop())

it("a service starts and is ready although another application's topic has no leader", {
  timeout: 120_000,
}, async () => {
  const pipeline = await openPipeline(cluster)
  const [first] = cluster.brokers
  try {
    const env = { KAFKA_REPLICATION_FACTOR: '3' }
    const before = await Promise.all([pipeline.start('ingress', env), pipeline.start('projector', env)])
    await Promise.all(before.map((service) => service.untilReady()))
    const foreign = {
      topic: `${pipeline.topics.other}.foreign`,
      replicaAssignment: [{ partition: 0, replicas: [first!.id] }],
    }
    await pipeline.administrator.createTopics({ waitForLeaders: false, topics: [foreign] })
    await fetchEnds(pipeline.admin, foreign.topic)
    await first!.kill()
    await waitUntil(
      'the foreign topic has no leader',
      () => pipeline.administrator.fetchTopicMetadata({ topics: [foreign.topic] }),
      ({ topics }) => topics[0]?.partitions[0]?.leader === -1,
    )
    const after = await Promise.all([pipeline.start('ingress', env), pipeline.start('projector', env)])
    await Promise.all([...before, ...after].map((service) => service.untilReady()))
    expect((await pipeline.post(after[0]!, makeCustomersEvent().body)).status).toBe(202)
  } finally {
    await first!.restart()
    await pipeline.close()
  }
})

it('a leader that hangs delays an ingress only until the cluster elects another leader', {
  timeout: 60_000,
}, async () => {
  const pipeline = await openPipeline(cluster)
  try {
    const ingress = await pipeline.start('ingress', { KAFKA_REPLICATION_FACTOR: '3', KAFKA_PARTITIONS: '1' })
    await ingress.untilReady()
    const post = async () => (await pipeline.post(ingress, makeCustomersEvent().body)).status
    expect(await post()).toBe(202)
    const { topics } = await pipeline.administrator.fetchTopicMetadata({ topics: [pipeline.topics.customers] })
    const leader = cluster.brokers.find(({ id }) => id === topics[0]?.partitions[0]?.leader)
    await leader?.freeze()
    // The election takes 6 s. If the leader was also the controller, the election of a new
    // controller comes first, and both may take 20 s under load. The last POST may wait 4 s more
    // for its answer. Without our patch, kafkajs would write to the old leader for minutes.
    await waitUntil('the new leader stores', post, (status) => status === 202, { timeoutMs: 25_000 })
    await leader?.thaw()
  } finally {
    await pipeline.close()
  }
})

it.each([
  ['without a leader', (broker: ClusterBroker) => broker.kill(), (broker: ClusterBroker) => broker.restart()],
  ['whose leader hangs', (broker: ClusterBroker) => broker.freeze(), (broker: ClusterBroker) => broker.thaw()],
])(
  'partitions %s delay neither other partitions nor the start of a service',
  { timeout: 120_000 },
  async (_, end, mend) => {
    const pipeline = await openPipeline(cluster)
    const [broken] = cluster.brokers
    const ended: ClusterBroker[] = []
    try {
      // With one replica, no other leader can be elected.
      const start = (env = {}) => pipeline.start('ingress', { KAFKA_REPLICATION_FACTOR: '1', ...env })
      const startProjector = () =>
        pipeline.start('projector', { KAFKA_REPLICATION_FACTOR: '1', CONSUMER_SESSION_TIMEOUT_MS: '6000' })
      const [ingress, projector] = await Promise.all([start(), startProjector()])
      await Promise.all([ingress.untilReady(), projector.untilReady()])
      const partitionsOf = async (topic: string) =>
        (await pipeline.administrator.fetchTopicMetadata({ topics: [topic] })).topics[0]?.partitions ?? []
      const lostOf = (described: Awaited<ReturnType<typeof partitionsOf>>) =>
        new Set(described.filter(({ leader }) => leader === broken!.id).map(({ partitionId }) => partitionId))
      const partitions = await partitionsOf(pipeline.topics.customers)
      const lost = lostOf(partitions)
      // A projector also waits for the partition of the state topic with the same number.
      const lostStates = lostOf(await partitionsOf(pipeline.stateTopic))
      expect(lost.size).toBeGreaterThan(0)
      expect(new Set([...lost, ...lostStates]).size).toBeLessThan(partitions.length)

      const numberOf = (customerUuid: string) => partitionOf(customerUuid, partitions.length)
      const isLost = (customerUuid: string) => lost.has(numberOf(customerUuid))
      const customers = Array.from({ length: 100 }, (_value, i) => `c${i}`)
      const others = customers.filter((customerUuid) => !isLost(customerUuid))
      let timestamp = 0
      /**
       * Sends one event of each customer, all in parallel.
       * @returns the answers for the lost partitions and for the other partitions.
       */
      const burst = async (to: typeof ingress) => {
        timestamp += 1
        const answers = customers.map(async (customerUuid) => {
          const { status } = await pipeline.post(to, makeCustomersEvent({ customerUuid, timestamp }).body)
          return { status, customerUuid }
        })
        const all = await Promise.all(answers)
        const statuses = (which: boolean) => [
          ...new Set(all.filter(({ customerUuid }) => isLost(customerUuid) === which).map(({ status }) => status)),
        ]
        return { lost: statuses(true), others: statuses(false) }
      }
      expect(await burst(ingress)).toEqual({ lost: [202], others: [202] })
      await end(broken!)
      ended.push(broken!)
      for (let bursts = 0; bursts < 3; bursts++) expect(await burst(ingress)).toEqual({ lost: [503], others: [202] })
      expect(await ingress.metric('ingress_partitions_failing')).toBe(lost.size)
      const [another] = await Promise.all([start({ SPOOL_DIR: join(pipeline.folder, 'spool') }), startProjector()])
      await another.untilReady()
      for (let bursts = 0; bursts < 2; bursts++) expect(await burst(another)).toEqual({ lost: [202], others: [202] })
      await waitUntil(
        'the projectors have applied the events of the other partitions',
        async () => {
          const waitForNothing = others.filter((customerUuid) => !lostStates.has(numberOf(customerUuid)))
          const keys = waitForNothing.map((customerUuid) => customerKey(customerUuid, pipeline.keyPrefix))
          return (await Promise.all(keys.map((key) => pipeline.redis.hget(key, '_eventTimestamp')))).filter(
            (at) => at !== String(timestamp),
          ).length
        },
        (old) => old === 0,
      )

      await waitUntil(
        'the spool has sent all records of the other partitions',
        () => another.metric('ingress_spool_records'),
        (records) => records === 2 * (customers.length - others.length),
      )
      await mend(ended.pop()!)
      await waitUntil(
        'every event gets 202 again',
        () => burst(ingress),
        (answers) => `${answers.lost} ${answers.others}` === '202 202',
      )
      await waitUntil(
        'the spool is empty',
        () => another.metric('ingress_spool_bytes'),
        (records) => records === 0,
      )
      await burst(another)
      for (const each of [ingress, another]) {
        await waitUntil(
          'no partition fails any more',
          () => each.metric('ingress_partitions_failing'),
          (count) => count === 0,
        )
      }
      await waitUntil(
        'the projector has caught up',
        () => pipeline.verify(),
        (verdict) => verdict.wrong.length === 0 && verdict.customers === 100,
      )
    } finally {
      for (const broker of ended) await mend(broker)
      await pipeline.close()
    }
  },
)

it('an ingress stores all kinds of events even if a bootstrap broker hangs from the start', {
  timeout: 60_000,
}, async () => {
  const pipeline = await openPipeline(cluster)
  const [first] = cluster.brokers
  try {
    const ingress = await pipeline.start('ingress', {
      KAFKA_BROKERS: cluster.proxiedBrokers.join(','),
      KAFKA_REPLICATION_FACTOR: '3',
    })
    await ingress.untilReady()
    // The broker still leads its partitions and accepts connections.
    first!.network.set('stalled')
    const post = async (body: string) => (await pipeline.post(ingress, body)).status
    const bodies = (kind: 'customer' | 'appointment') =>
      Array.from({ length: 20 }, (_, i) =>
        kind === 'customer' ? makeCustomersEvent().body : JSON.stringify({ id: `a${i}`, type: 'appointments' }),
      )
    const anyOf = async (all: readonly string[]) => (await Promise.all(all.map(post))).includes(202)
    await waitUntil(
      'each kind is stored for partitions of the other brokers',
      () => Promise.all([anyOf(bodies('customer')), anyOf(bodies('appointment')), post('not json')]),
      (stored) => `${stored}` === 'true,true,400',
      { timeoutMs: 20_000 },
    )
  } finally {
    first!.network.set('open')
    await pipeline.close()
  }
})

describe('slow partitions', () => {
  /**
   * Sends `perSecond` events a second for `seconds`.
   * @returns the answers for the slow partitions and for the other partitions.
   */
  const load = async (
    post: (customerUuid: string) => Promise<number>,
    { seconds, perSecond, isSlow }: { seconds: number; perSecond: number; isSlow: (customerUuid: string) => boolean },
  ) => {
    const answers = { slow: new Map<number, number>(), others: new Map<number, number>() }
    const posts: Promise<void>[] = []
    for (let i = 0; i < seconds * perSecond; i++) {
      const customerUuid = `c${i % 100}`
      posts.push(
        post(customerUuid).then((status) => {
          const { slow, others } = answers
          const counts = isSlow(customerUuid) ? slow : others
          counts.set(status, (counts.get(status) ?? 0) + 1)
        }),
      )
      await new Promise((resolve) => setTimeout(resolve, 1000 / perSecond))
    }
    await Promise.all(posts)
    return answers
  }

  it('partitions whose leader answers in 900 ms delay no other partition', { timeout: 120_000 }, async () => {
    const pipeline = await openPipeline(cluster)
    const [slow] = cluster.brokers
    try {
      const env = {
        KAFKA_BROKERS: cluster.proxiedBrokers.join(','),
        KAFKA_REPLICATION_FACTOR: '1',
        QUEUE_MAX_RECORDS: '100',
      }
      const ingress = await pipeline.start('ingress', env)
      await ingress.untilReady()
      const { topics } = await pipeline.administrator.fetchTopicMetadata({ topics: [pipeline.topics.customers] })
      const partitions = topics[0]?.partitions ?? []
      const led = new Set(partitions.filter(({ leader }) => leader === slow!.id).map(({ partitionId }) => partitionId))
      const isSlow = (customerUuid: string) => led.has(partitionOf(customerUuid, partitions.length))
      const post = async (customerUuid: string) =>
        (await pipeline.post(ingress, makeCustomersEvent({ customerUuid }).body)).status
      expect(await load(post, { seconds: 1, perSecond: 50, isSlow })).toMatchObject({
        others: new Map([[202, expect.any(Number)]]),
      })
      slow!.network.set({ delayMs: 450 })
      const { slow: ofSlow, others } = await load(post, { seconds: 4, perSecond: 200, isSlow })
      expect([...others.keys()]).toEqual([202])
      expect(ofSlow.get(202)).toBeGreaterThan(0)
      expect(await ingress.metric('ingress_partitions_slow')).toBeGreaterThan(0)
    } finally {
      slow!.network.set('open')
      await pipeline.close()
    }
  })

  it('partitions with a hanging follower delay no other partition', { timeout: 60_000 }, async () => {
    const pipeline = await openPipeline(cluster)
    const [leader, follower, hanging] = cluster.brokers
    try {
      const slow = new Set([0, 1, 2, 3])
      const configEntries = Object.entries({
        'min.insync.replicas': '1',
        'retention.ms': '-1',
        'max.message.bytes': `${2 * 1024 * 1024}`,
        'message.timestamp.after.max.ms': '9223372036854775807',
        'unclean.leader.election.enable': 'false',
      }).map(([name, value]) => ({ name, value }))
      const replicaAssignment = Array.from({ length: 12 }, (_, partition) => ({
        partition,
        replicas: [leader!.id, slow.has(partition) ? hanging!.id : follower!.id],
      }))
      const topic = { topic: pipeline.topics.customers, configEntries, replicaAssignment }
      await pipeline.administrator.createTopics({ waitForLeaders: false, topics: [topic] })
      const ingress = await pipeline.start('ingress', { KAFKA_REPLICATION_FACTOR: '2', ACCEPT_DEADLINE_MS: '2000' })
      await ingress.untilReady()
      const isSlow = (customerUuid: string) => slow.has(partitionOf(customerUuid, 12))
      const post = async (customerUuid: string) =>
        (await pipeline.post(ingress, makeCustomersEvent({ customerUuid }).body)).status
      expect(await load(post, { seconds: 1, perSecond: 50, isSlow })).toMatchObject({
        others: new Map([[202, expect.any(Number)]]),
      })
      // For about three seconds the follower still counts as in sync, so no record is acknowledged.
      await hanging!.freeze()
      const { slow: ofSlow, others } = await load(post, { seconds: 4, perSecond: 50, isSlow })
      expect([...others.keys()]).toEqual([202])
      expect(ofSlow.get(503)).toBeGreaterThan(0)
    } finally {
      await hanging!.thaw()
      await pipeline.close()
    }
  })
})

describe('/readyz', () => {
  const kafkaCheck = async (service: ServiceProcess): Promise<ReadinessCheck | undefined> => {
    const { checks } = (await (await fetch(`${service.adminUrl}/readyz`)).json()) as { checks: ReadinessCheck[] }
    return checks.find(({ name }) => name === 'kafka')
  }

  it.each([
    ['is frozen', (broker: ClusterBroker) => broker.freeze(), (broker: ClusterBroker) => broker.thaw()],
    [
      'is behind a half-open network',
      async ({ network }: ClusterBroker) => network.set('stalled'),
      async ({ network }: ClusterBroker) => network.set('open'),
    ],
  ])('the check of Kafka passes while one of three brokers %s', { timeout: 120_000 }, async (_, end, mend) => {
    const pipeline = await openPipeline(cluster)
    const [silent] = cluster.brokers
    try {
      const env = { KAFKA_BROKERS: cluster.proxiedBrokers.join(','), KAFKA_REPLICATION_FACTOR: '3' }
      const services = await Promise.all([pipeline.start('ingress', env), pipeline.start('projector', env)])
      await Promise.all(services.map((service) => service.untilReady()))
      await end(silent!)
      for (let asks = 0; asks < 20; asks++)
        expect(await Promise.all(services.map(kafkaCheck))).toEqual([
          { name: 'kafka', ready: true },
          { name: 'kafka', ready: true },
        ])
    } finally {
      await mend(silent!)
      await pipeline.close()
    }
  })

  it('in an outage the check of Kafka names the brokers, and the log has the beginning and the end', {
    timeout: 180_000,
  }, async () => {
    const pipeline = await openPipeline(cluster)
    const all = <T>(of: (broker: ClusterBroker) => Promise<T>) => Promise.all(cluster.brokers.map(of))
    const loaded = new AbortController()
    try {
      const env = { KAFKA_REPLICATION_FACTOR: '3', ACCEPT_DEADLINE_MS: '1000' }
      const services = await Promise.all([pipeline.start('ingress', env), pipeline.start('projector', env)])
      await Promise.all(services.map((service) => service.untilReady()))
      const senders = Array.from({ length: 10 }, async () => {
        while (!loaded.signal.aborted) await pipeline.post(services[0]!, makeCustomersEvent().body)
      })
      await all((broker) => broker.freeze())
      const addresses = cluster.kafkaBrokers.join(', ')
      for (const service of services) {
        await waitUntil(
          'the check names the brokers, what the service does and what to do',
          async () => (await kafkaCheck(service))?.detail ?? '',
          (detail) =>
            detail.includes(`KAFKA_BROKERS (${addresses})`) &&
            detail.includes('The service cannot') &&
            detail.includes('keeps trying'),
        )
      }
      const linesOf = async (service: ServiceProcess, event: string) =>
        (await readFile(service.logFile, 'utf8')).split('\n').filter((line) => line.includes(`"event":"${event}"`))
          .length
      const [before] = await Promise.all(services.map((service) => linesOf(service, 'recovered')))
      const ingress = services[0]!
      await waitUntil(
        'the ingress logs that the outage has begun',
        () => linesOf(ingress, 'retrying'),
        (lines) => lines > 0,
      )
      // Without a patch, Node would warn of a leak after so many failures.
      await waitUntil(
        'many flushes have failed',
        () => ingress.metric('ingress_flush_errors_total'),
        (errors) => errors > 100,
        { timeoutMs: 60_000 },
      )
      await all((broker) => broker.thaw())
      await waitUntil(
        'the ingress logs that the outage is over',
        () => linesOf(ingress, 'recovered'),
        (lines) => lines === (before ?? 0) + 1,
        { timeoutMs: 60_000 },
      )
      loaded.abort()
      await Promise.all(senders)
      for (const service of services) {
        await service.untilReady()
        expect(await readFile(service.logFile, 'utf8')).not.toContain('MaxListenersExceededWarning')
      }
    } finally {
      loaded.abort()
      await all((broker) => broker.thaw())
      await pipeline.close()
    }
  })
})
