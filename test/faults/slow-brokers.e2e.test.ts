import { readFile } from 'node:fs/promises'
import type { ReadinessCheck } from '@customer-stream/runtime'
import { waitUntil } from '@customer-stream/runtime'
import { partitionOf } from '@customer-stream/schemas'
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

  it('partitions whose leader answers only after 900 ms delay no other partition', { timeout: 120_000 }, async () => {
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
      // For about three seconds the frozen broker still counts as in sync. So in these partitions
      // no record is acknowledged.
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

  it('during an outage the check of Kafka names the brokers, and the log says when the outage begins and ends', {
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
      // Without our patch of kafkajs, Node would warn of a memory leak after so many failures.
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
