import { makeCustomersEvent } from '@customer-stream/simulator'
import { type KafkaCluster, openPipeline, startCluster, waitUntil } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'

let cluster: KafkaCluster
beforeAll(async () => {
  cluster = await startCluster()
})
afterAll(() => cluster?.stop())

it('a leader that hangs holds up an ingress no longer than the cluster needs to elect another', { timeout: 60_000 }, async () => {
  const pipeline = await openPipeline(cluster)
  try {
    const ingress = await pipeline.start('ingress', { KAFKA_REPLICATION_FACTOR: '3', KAFKA_PARTITIONS: '1' })
    await ingress.untilReady()
    const post = async () => (await pipeline.post(ingress, makeCustomersEvent().body)).status
    expect(await post()).toBe(202)
    const { topics } = await pipeline.admin.fetchTopicMetadata({ topics: [pipeline.topics.customers] })
    const leader = cluster.brokers.find(({ id }) => id === topics[0]?.partitions[0]?.leader)
    await leader?.freeze()
    // The cluster takes 6 s, and where the leader was its controller too, it elects another of those first: more than 20 s were seen beside other load. kafkajs by
    // itself goes on writing to the old leader for minutes, and waits 30 s for each reply of his.
    await waitUntil('the new leader stores', post, (status) => status === 202, { timeoutMs: 29_000 })
    await leader?.thaw()
  } finally {
    await pipeline.close()
  }
})
