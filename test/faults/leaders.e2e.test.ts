import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { fetchEnds } from '@customer-stream/runtime/kafka'
import { customerKey, partitionOf } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { type ClusterBroker, type KafkaCluster, openPipeline, startCluster } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'

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
       * Sends one event of each customer. All requests are in parallel.
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
