import type { Arena } from '@customer-stream/testing'
import { waitUntil } from '@customer-stream/testing'
import { type Fault, lasting } from './fault.ts'

/** Moves the leadership of every partition of the customers topic to the next replica, by giving it a new preferred order. */
const moveLeadership = async ({ pipeline }: Arena): Promise<void> => {
  const { topics } = await pipeline.admin.fetchTopicMetadata({ topics: [pipeline.topics.customers] })
  const partitions = topics[0]?.partitions ?? []
  const partitionAssignment = partitions.map(({ partitionId, replicas }) => ({
    partition: partitionId,
    replicas: [...replicas.slice(1), ...replicas.slice(0, 1)],
  }))
  await pipeline.admin.alterPartitionReassignments({ topics: [{ topic: pipeline.topics.customers, partitionAssignment }] })
}

const untilReplicated = async ({ pipeline }: Arena): Promise<void> => {
  await waitUntil(
    'every replica is in sync',
    async () => {
      const { topics } = await pipeline.admin.fetchTopicMetadata({ topics: [pipeline.topics.customers] }).catch(() => ({ topics: [] }))
      return topics[0]?.partitions.filter(({ isr }) => isr.length === 3).length ?? 0
    },
    (inSync) => inSync === 12,
    { timeoutMs: 90_000, pauseMs: 200 },
  )
}

const slow = (bytesPerSecond: number) => ({ bytesPerSecond })

export const brokerFaults: readonly Fault[] = [
  {
    name: 'leader change',
    how: 'each broker killed and restarted; leadership moved by reassignment while metadata is stale',
    inject: async (arena, scale) => {
      for (const broker of arena.cluster.brokers.slice(0, scale < 1 ? 1 : 3)) {
        await broker.kill()
        await arena.untilPromised(50)
        await broker.restart()
        await untilReplicated(arena)
      }
      for (let round = 0; round < 3; round++) {
        await moveLeadership(arena)
        await arena.untilPromised(100)
      }
    },
  },
  {
    name: 'rolling restart',
    how: 'each broker stopped in order and restarted',
    inject: async (arena, scale) => {
      for (const broker of arena.cluster.brokers.slice(0, scale < 1 ? 1 : 3)) {
        await broker.terminate()
        await broker.restart()
        await untilReplicated(arena)
      }
    },
  },
  {
    name: 'broker frozen',
    how: 'SIGSTOP 20 s, SIGCONT',
    inject: async (arena, scale) => {
      const [broker] = arena.cluster.brokers
      await broker?.freeze()
      await lasting(3500 + 16_500 * scale)
      await broker?.thaw()
      await untilReplicated(arena)
    },
  },
  {
    name: 'too few replicas',
    how: 'two of three brokers down: 503 within the deadline, never 2xx, no memory growth',
    inject: async (arena, scale) => {
      const [first, second] = arena.cluster.brokers
      await Promise.all([first?.kill(), second?.kill()])
      // What had been stored by all is still being answered.
      await lasting(1000)
      const promised = arena.promised()
      const { timedOut } = arena.unanswered()
      const memory = async () => Promise.all(arena.ingresses.map(({ process }) => process.metric('process_resident_memory_bytes')))
      const before = await memory()
      await lasting(4500 + 10_000 * scale)
      const after = await memory()
      if (arena.promised() !== promised) throw new Error('a promise was given that two brokers could not keep')
      if (arena.unanswered().timedOut > timedOut) throw new Error('somebody was told nothing in the time that the sender waits')
      if (!arena.statuses()[503]) throw new Error('nobody was told to come again')
      const grown = after.map((bytes, i) => (bytes - (before[i] ?? 0)) / 1024 / 1024)
      if (grown.some((mib) => mib > 100)) throw new Error(`memory grew by ${grown.map(Math.round).join(' and ')} MiB`)
      await Promise.all([first?.restart(), second?.restart()])
      await untilReplicated(arena)
    },
  },
  {
    name: 'all brokers down, with the spool',
    how: 'promises go on from the disk, also over a SIGKILL of an ingress; sent when the brokers are back',
    options: { spool: true },
    inject: async (arena, scale) => {
      const { brokers } = arena.cluster
      await Promise.all(brokers.map((broker) => broker.kill()))
      await arena.untilPromised(200)
      const [ingress] = arena.ingresses
      await ingress?.kill()
      await ingress?.restart()
      await arena.untilPromised(200 + 1000 * scale)
      await Promise.all(brokers.map((broker) => broker.restart()))
      await waitUntil(
        'the spools are empty',
        async () =>
          (await Promise.all(arena.ingresses.map(({ process }) => process.metric('ingress_spool_records')))).reduce((a, b) => a + b),
        (records) => records === 0,
        { timeoutMs: 60_000 },
      )
    },
  },
  {
    name: 'network to the brokers',
    how: 'cut, 3 s delay, half-open, slow trickle, one broker after the other',
    inject: async (arena, scale) => {
      const { brokers } = arena.cluster
      for (const [i, state] of (['cut', { delayMs: 3000 }, 'stalled', slow(2000)] as const).entries()) {
        const network = brokers[i % brokers.length]?.network
        network?.set(state)
        await lasting(1500 + 6000 * scale)
        network?.set('open')
        await arena.untilPromised(100)
      }
    },
  },
]
