import { makeCustomersEvent } from '@customer-stream/simulator'
import { type KafkaCluster, openPipeline, startCluster, waitUntil } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'

let cluster: KafkaCluster
beforeAll(async () => {
  cluster = await startCluster()
})
afterAll(() => cluster?.stop())

it("another's topic without a leader keeps neither service from starting, nor from being ready", { timeout: 120_000 }, async () => {
  const pipeline = await openPipeline(cluster)
  const [first] = cluster.brokers
  try {
    const env = { KAFKA_REPLICATION_FACTOR: '3' }
    const before = await Promise.all([pipeline.start('ingress', env), pipeline.start('projector', env)])
    await Promise.all(before.map((service) => service.untilReady()))
    const foreign = { topic: `${pipeline.topics.other}.foreign`, replicaAssignment: [{ partition: 0, replicas: [first!.id] }] }
    await pipeline.admin.createTopics({ waitForLeaders: true, topics: [foreign] })
    await first!.kill()
    await waitUntil(
      'it has no leader',
      () => pipeline.admin.fetchTopicMetadata({ topics: [foreign.topic] }).then(String, ({ message }: Error) => message),
      (message) => message.includes('no leader'),
    )
    const after = await Promise.all([pipeline.start('ingress', env), pipeline.start('projector', env)])
    await Promise.all([...before, ...after].map((service) => service.untilReady()))
    expect((await pipeline.post(after[0]!, makeCustomersEvent().body)).status).toBe(202)
  } finally {
    await first!.restart()
    await pipeline.close()
  }
})

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
    // itself goes on writing to the old leader for minutes, and waits 30 s for each reply of his. The last try may take another 4 s.
    await waitUntil('the new leader stores', post, (status) => status === 202, { timeoutMs: 25_000 })
    await leader?.thaw()
  } finally {
    await pipeline.close()
  }
})
