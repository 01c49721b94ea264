import { createRequire } from 'node:module'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import '../client.ts'

const require = createRequire(import.meta.url)
const kafkajs = <T>(module: string) => require(`kafkajs/src/${module}`) as T

const LEADER_NOT_AVAILABLE = 5
const describedPartition = (partitionId: number, leader: number) => ({
  partitionId,
  leader,
  partitionErrorCode: leader < 0 ? LEADER_NOT_AVAILABLE : 0,
})
const metadataOf = (topicErrorCode: number, ...leaders: number[]) => ({
  topicMetadata: [
    { topic: 't', topicErrorCode, partitionMetadata: leaders.map((leader, id) => describedPartition(id, leader)) },
  ],
})

it.each([0, 1, 2, 3, 4, 5, 6])(
  'other partitions work if one partition has no leader (Metadata version %i)',
  async (version) => {
    const { parse } = kafkajs<{ parse(data: object): Promise<ReturnType<typeof metadataOf>> }>(
      `protocol/requests/metadata/v${version}/response`,
    )
    const { topicMetadata } = await parse(metadataOf(0, 2, -1))
    expect(topicMetadata[0]?.partitionMetadata.map(({ leader }) => leader)).toEqual([2, -1])
    const UNKNOWN_TOPIC = 3
    await expect(parse(metadataOf(UNKNOWN_TOPIC, 2))).rejects.toMatchObject({ type: 'UNKNOWN_TOPIC_OR_PARTITION' })
  },
)

const refreshed = async (...leaders: number[]): Promise<number> => {
  interface Pool {
    metadataExpireAt: number
    refreshMetadata(topics: string[]): Promise<void>
  }
  const BrokerPool = kafkajs<new (options: object) => Pool>('cluster/brokerPool')
  const logger = { namespace: () => logger, debug() {}, info() {}, warn() {}, error() {} }
  const pool = new BrokerPool({ connectionPoolBuilder: {}, logger, metadataMaxAge: 30_000 })
  const broker = { metadata: async () => ({ brokers: [], ...metadataOf(0, ...leaders) }) }
  Object.assign(pool, { findConnectedBroker: async () => broker, seedBroker: { connectionPool: {} } })
  await pool.refreshMetadata(['t'])
  return pool.metadataExpireAt
}

it('metadata expires early if a partition has no leader', async () => {
  vi.useFakeTimers({ toFake: ['performance', 'Date'] })
  onTestFinished(() => void vi.useRealTimers())
  const [whole, lacking] = [await refreshed(1, 2), await refreshed(1, -1)]
  expect(whole - lacking).toBe(29_000)
})

describe('end offsets', () => {
  interface Cluster {
    fetchTopicsOffset(topics: object[]): Promise<object[]>
  }
  type Asked = { topic: string; partitions: { partition: number }[] }[]
  /**
   * Creates a cluster. `leaders` has the leader of each partition, or -1. Each broker answers with
   * its own number as the offset. Brokers in `silent` do not answer.
   */
  const setUp = (leaders: number[], silent: number[] = []) => {
    const refreshMetadata = vi.fn(async () => undefined)
    const cluster = Object.create(kafkajs<{ prototype: Cluster }>('cluster').prototype) as Cluster
    Object.assign(cluster, {
      brokerPool: { metadata: metadataOf(0, ...leaders) },
      refreshMetadata,
      findBroker: async ({ nodeId }: { nodeId: string }) => ({
        listOffsets: async ({ topics }: { topics: Asked }) => {
          if (silent.includes(Number(nodeId))) throw new Error(`no answer of ${nodeId}`)
          return {
            responses: topics.map(({ topic, partitions }) => ({
              topic,
              partitions: partitions.map(({ partition }) => ({ partition, offset: nodeId })),
            })),
          }
        },
      }),
    })
    const ask = () =>
      cluster.fetchTopicsOffset([{ topic: 't', partitions: leaders.map((_, partition) => ({ partition })) }])
    return { ask, refreshMetadata }
  }
  const answer = (...partitions: [number, string][]) => [
    { topic: 't', partitions: partitions.map(([partition, offset]) => ({ partition, offset })) },
  ]

  it('end offsets leave out a partition without a leader, and are empty if no partition has a leader', async () => {
    expect(await setUp([1, -1, 2, 1]).ask()).toEqual(answer([0, '1'], [3, '1'], [2, '2']))
    expect(await setUp([-1]).ask()).toEqual(answer())
  })

  it('end offsets of a silent leader are left out, and the metadata is refreshed', async () => {
    const { ask, refreshMetadata } = setUp([1, 2], [2])
    expect(await ask()).toEqual(answer([0, '1']))
    expect(refreshMetadata).toHaveBeenCalledOnce()
  })

  it('the request for end offsets fails if no leader answers', async () => {
    await expect(setUp([1, 2], [1, 2]).ask()).rejects.toThrow('no answer of')
  })
})
