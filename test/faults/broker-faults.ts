import { waitUntil } from '@customer-stream/runtime'
import type { Random } from '@customer-stream/simulator'
import type { ClusterBroker } from '@customer-stream/testing'
import { changedSettings, type Fault, lasting, sumOver, TOPIC } from './fault.ts'
import type { FaultHarness } from './harness/fault-harness.ts'

const partitionsOf = async ({ pipeline }: FaultHarness, topic = pipeline.topics.customers) => {
  const { topics } = await pipeline.administrator.fetchTopicMetadata({ topics: [topic] })
  return topics[0]?.partitions ?? []
}

/** Returns the broker that leads the most partitions of the customers topic. */
const leadingBroker = async (harness: FaultHarness): Promise<ClusterBroker> => {
  const leaders = Map.groupBy(await partitionsOf(harness), ({ leader }) => leader)
  const led = ({ id }: ClusterBroker) => leaders.get(id)?.length ?? 0
  return harness.cluster.brokers.reduce((most, broker) => (led(broker) > led(most) ? broker : most))
}

const reassign = async (
  { pipeline }: FaultHarness,
  partitionAssignment: { partition: number; replicas: number[] }[],
  topic = pipeline.topics.customers,
) => {
  await pipeline.administrator.alterPartitionReassignments({ topics: [{ topic, partitionAssignment }] })
}

/**
 * Moves the leadership of each partition. Removes the replica of the old leader, and then adds this
 * replica again. If only the order of the replicas changed, Kafka would move the leadership much
 * later.
 */
const moveLeadership = async (harness: FaultHarness): Promise<void> => {
  const before = await partitionsOf(harness)
  await reassign(
    harness,
    before.map(({ partitionId, replicas, leader }) => ({
      partition: partitionId,
      replicas: replicas.filter((id) => id !== leader),
    })),
  )
  const old = new Map(before.map(({ partitionId, leader }) => [partitionId, leader]))
  await waitUntil(
    'every partition has another leader',
    async () =>
      (await partitionsOf(harness)).filter(({ partitionId, leader }) => leader !== old.get(partitionId)).length,
    (moved) => moved === before.length,
  )
  await harness.untilPromised(100)
  await reassign(
    harness,
    before.map(({ partitionId, replicas }) => ({ partition: partitionId, replicas })),
  )
  await untilReplicated(harness)
}

export const untilReplicated = async (harness: FaultHarness, topic?: string): Promise<void> => {
  await waitUntil(
    'every replica is in sync',
    async () => (await partitionsOf(harness, topic).catch(() => [])).filter(({ isr }) => isr.length === 3).length,
    (inSync) => inSync === 12,
    { timeoutMs: 90_000, pauseMs: 200 },
  )
}

/** Returns all brokers in the full suite, and one random broker in the short form. */
const some = ({ cluster: { brokers } }: FaultHarness, scale: number, random: Random): readonly ClusterBroker[] =>
  scale < 1 ? [random.pick(brokers)] : brokers

const slow = (bytesPerSecond: number) => ({ bytesPerSecond })

/**
 * Makes one broker the leader of the state topic, and kills or freezes this broker while events are
 * sent. The topic needs acknowledgements of all replicas, so Kafka stores no document until the
 * broker is back.
 * @throws an error if a position moves before the broker is back.
 */
const loseStateLeader = async (
  harness: FaultHarness,
  broker: ClusterBroker,
  lose: () => Promise<void>,
): Promise<void> => {
  const { projectors, positions, pipeline } = harness
  const { administrator, stateTopic } = pipeline
  const before = await partitionsOf(harness, stateTopic)
  const settings = await changedSettings(pipeline, stateTopic)
  await administrator.alterConfigs({
    validateOnly: false,
    resources: [
      {
        type: TOPIC,
        name: stateTopic,
        configEntries: [
          ...settings.filter(({ name }) => name !== 'min.insync.replicas'),
          { name: 'min.insync.replicas', value: '3' },
        ],
      },
    ],
  })
  for (const alone of [true, false]) {
    await reassign(
      harness,
      before.map(({ partitionId, replicas }) => ({
        partition: partitionId,
        replicas: [broker.id, ...(alone ? [] : replicas.filter((id) => id !== broker.id))],
      })),
      stateTopic,
    )
    await waitUntil(
      `${broker.id} leads the state topic`,
      () => partitionsOf(harness, stateTopic),
      (now) => now.every(({ leader, isr }) => leader === broker.id && isr.length === (alone ? 1 : 3)),
      { timeoutMs: 30_000 },
    )
  }
  await harness.untilPromised(200)
  const failures = () => sumOver(projectors, 'projector_failures_total', { operation: 'state' })
  const known = await failures()
  await lose()
  await waitUntil('the projectors wait for the state topic', failures, (count) => count > known)
  // Wait for some time, because chunks without a document may still move a position.
  await lasting(2000)
  const reached = await positions()
  await harness.untilPromised(500)
  const moved = [...(await positions())].filter(([partition, position]) => position !== reached.get(partition))
  if (moved.length > 0) throw new Error(`positions moved without the state topic: ${moved}`)
}

export const brokerFaults: readonly Fault[] = [
  {
    name: 'leader change',
    how:
      'each broker is killed and restarted; then a reassignment moves the leaders while the clients have stale ' +
      'metadata',
    inject: async (harness, scale, random) => {
      for (const broker of some(harness, scale, random)) {
        await broker.kill()
        await harness.untilPromised(50)
        await broker.restart()
        await untilReplicated(harness)
      }
      for (let round = 0; round < Math.round(1 + 2 * scale); round++) await moveLeadership(harness)
    },
  },
  {
    name: 'rolling restart',
    how: 'each broker is stopped and restarted, one after another',
    inject: async (harness, scale, random) => {
      for (const broker of some(harness, scale, random)) {
        await broker.terminate()
        await broker.restart()
        await untilReplicated(harness)
      }
    },
  },
  {
    name: 'broker frozen',
    how: 'the broker that leads most partitions gets SIGSTOP, and SIGCONT after 20 s',
    inject: async (harness, scale) => {
      const broker = await leadingBroker(harness)
      await broker.freeze()
      await lasting(3500 + 16_500 * scale)
      await broker.thaw()
      await untilReplicated(harness)
    },
  },
  {
    name: 'leader of the state topic gone',
    how: 'the broker that leads the state topic is killed; before its restart no position moves, but events get 202',
    inject: async (harness, _, random) => {
      const broker = random.pick(harness.cluster.brokers)
      await loseStateLeader(harness, broker, () => broker.kill())
      await broker.restart()
      await untilReplicated(harness)
      await untilReplicated(harness, harness.pipeline.stateTopic)
    },
  },
  {
    name: 'leader of the state topic hung',
    how: 'the broker that leads the state topic is frozen; before its SIGCONT no position moves, but events get 202',
    inject: async (harness, scale, random) => {
      const broker = random.pick(harness.cluster.brokers)
      await loseStateLeader(harness, broker, () => broker.freeze())
      await lasting(10_000 * scale)
      await broker.thaw()
      await untilReplicated(harness)
      await untilReplicated(harness, harness.pipeline.stateTopic)
    },
  },
  {
    name: 'all brokers down, with the spool',
    how: 'events get 202 from the spool, even after a SIGKILL of an ingress, and are sent when the brokers are back',
    options: { spool: true },
    inject: async (harness, scale) => {
      const { brokers } = harness.cluster
      await Promise.all(brokers.map((broker) => broker.kill()))
      await harness.untilPromised(200)
      const [ingress] = harness.ingresses
      await ingress?.kill()
      await ingress?.restart()
      await harness.untilPromised(200 + 1000 * scale)
      await Promise.all(brokers.map((broker) => broker.restart()))
      await waitUntil(
        'the spools are empty',
        () => sumOver(harness.ingresses, 'ingress_spool_bytes'),
        (left) => left === 0,
        { timeoutMs: 60_000 },
      )
    },
  },
  {
    name: 'network to the brokers',
    how: 'the network to the broker that leads most partitions is cut, then delayed by 3 s, half-open, and very slow',
    inject: async (harness, scale) => {
      const failedFlushes = () => sumOver(harness.ingresses, 'ingress_flush_errors_total')
      for (const state of ['cut', { delayMs: 3000 }, 'stalled', slow(2000)] as const) {
        const before = await failedFlushes()
        const { network } = await leadingBroker(harness)
        network.set(state)
        await waitUntil(`sends fail: ${JSON.stringify(state)}`, failedFlushes, (failed) => failed > before)
        await lasting(6000 * scale)
        network.set('open')
        await harness.untilPromised(100)
      }
    },
  },
]
