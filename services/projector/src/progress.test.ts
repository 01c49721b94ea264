import type { GroupMember, Watermarks } from '@customer-stream/runtime/kafka'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createProgress } from './progress.ts'

const INTERVAL_MS = 5000

const memberOf = (instance: string, partitions: number[], topics = ['raw']): GroupMember => ({
  memberId: `${instance}-id`,
  clientId: 'projector',
  host: '10.0.0.1',
  topics,
  instance,
  partitions,
})

const setUp = (partitions = 2) => {
  vi.useFakeTimers({ toFake: ['performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const marks = new Map<number, Watermarks>()
  const positions = new Map<number, string>()
  const all = [...Array(partitions).keys()]
  for (const partition of all) {
    marks.set(partition, { low: '0', stable: '10', high: '10' })
    positions.set(partition, '10')
  }
  const group: { state: string; members: GroupMember[]; problem?: Error } = {
    state: 'Stable',
    members: [memberOf('me', all)],
  }
  const slow = { ms: 0 }
  const announced = new Set(['me'])
  const lag = new Map<number, number>()
  const standstillSeconds = { set: vi.fn() }
  const progress = createProgress(
    {
      consumer: {
        watermarks: async () => {
          vi.advanceTimersByTime(slow.ms)
          return new Map(marks)
        },
        group: async () => {
          if (group.problem) throw group.problem
          return { ...group }
        },
      },
      store: {
        peekPositions: async () => new Map(positions),
        announced: async (instances) => new Set(instances.filter((instance) => announced.has(instance))),
      },
      metrics: {
        observeLag: (partition: number, records: number) => void lag.set(partition, records),
        standstillSeconds,
      } as never,
    },
    { topic: 'raw', groupId: 'g', instance: 'me', partitions },
  )
  /** Lets time pass and measures at the interval of the process. */
  const pass = async (ms: number, each: () => void = () => {}) => {
    for (let passed = 0; passed < ms; passed += INTERVAL_MS) {
      vi.advanceTimersByTime(INTERVAL_MS)
      each()
      await progress.measure()
    }
  }
  return { progress, marks, positions, group, announced, slow, lag, pass, standstillSeconds }
}

describe('lag', () => {
  it('the lag of every partition is measured, even if a partition has no owner or no position', async () => {
    const { progress, positions, group, lag } = setUp(3)
    group.members = []
    positions.set(1, '4').delete(2)
    await progress.measure()
    expect([...lag]).toEqual([
      [0, 0],
      [1, 6],
      [2, 10],
    ])
  })

  it('the lag is measured even if the group cannot be read', async () => {
    const { progress, positions, group, lag } = setUp()
    group.problem = new Error('Not authorized to access group')
    positions.set(0, '4')
    await progress.measure()
    expect([...lag]).toEqual([
      [0, 6],
      [1, 0],
    ])
  })

  it('a partition without a leader keeps its last known lag', async () => {
    const { progress, marks, positions, lag } = setUp()
    positions.set(0, '4')
    await progress.measure()
    lag.clear()
    marks.delete(0)
    await progress.measure()
    expect([...lag.keys()]).toEqual([1])
  })
})

describe('a standstill', () => {
  it('a partition with records whose position does not move is reported as a standstill', async () => {
    const { progress, positions, pass } = setUp()
    positions.set(1, '4')
    await pass(10_000)
    expect(progress.standstill).toBeUndefined()
    await pass(15_000)
    expect(progress.standstill).toMatch(/^raw\/1 has 6 records to apply, and its position has not moved for 20 s\. /)
    positions.set(1, '5')
    await progress.measure()
    expect(progress.standstill).toBeUndefined()
  })

  it('a partition that is idle or has only new records is not reported as a standstill', async () => {
    const { progress, marks, pass } = setUp()
    await pass(60_000)
    marks.set(0, { low: '0', stable: '20', high: '20' })
    await progress.measure()
    expect(progress.standstill).toBeUndefined()
  })

  it('the report of a standstill says that no group member owns the partition', async () => {
    const { progress, positions, group, pass } = setUp()
    group.members = [memberOf('me', [0])]
    positions.set(1, '4')
    await pass(20_000)
    expect(progress.standstill).toContain('no member of the consumer group g owns it')
  })

  it('the report of a standstill names the group member that owns the partition', async () => {
    const { progress, positions, group, pass } = setUp()
    group.members = [memberOf('me', [0]), memberOf('other', [1])]
    positions.set(1, '4')
    await pass(20_000)
    expect(progress.standstill).toContain('projector at 10.0.0.1 (other-id) owns it')
  })

  it('the report of a standstill names an open transaction as the cause', async () => {
    const { progress, marks, pass } = setUp()
    marks.set(0, { low: '0', stable: '10', high: '25' })
    await pass(20_000)
    expect(progress.standstill).toContain('an open transaction of another producer holds these records back')
  })

  it('records that wait for an open transaction do not count as a standstill of the process', async () => {
    const { progress, marks, positions, pass } = setUp()
    marks.set(0, { low: '0', stable: '10', high: '25' })
    await pass(90_000)
    expect(progress.standstillMs([0, 1])).toBe(0)
    positions.set(1, '4')
    await pass(20_000)
    expect(progress.standstillMs([0, 1])).toBe(10_000)
  })

  it('a standstill is reported even if measurements are slow', async () => {
    const { progress, positions, pass, slow } = setUp()
    positions.set(1, '4')
    slow.ms = 10_000
    await pass(30_000)
    expect(progress.standstill).toContain('raw/1 has 6 records')
  })

  it('a topic without any partition leader is reported as a standstill', async () => {
    const { progress, marks } = setUp()
    marks.clear()
    await progress.measure()
    expect(progress.standstill).toContain('no partition of raw has a leader')
  })

  it('a standstill is reported only after ten minutes if the projector moves other positions', async () => {
    const { progress, positions, pass } = setUp(200)
    for (const partition of positions.keys()) positions.set(partition, '0')
    let turn = 1
    const oneMoves = () => void positions.set(1 + (turn % 100), String(1 + (turn++ % 9)))
    await pass(500_000, oneMoves)
    expect([progress.standstill, progress.standstillMs([...positions.keys()])]).toEqual([undefined, 0])
    await pass(120_000, oneMoves)
    expect(progress.standstill).toContain('its position has not moved for 61')
  })

  it('after a long gap between measurements, standstill times start again at 0', async () => {
    const { progress, positions, pass } = setUp()
    positions.set(1, '4')
    await pass(10_000)
    vi.advanceTimersByTime(60_000)
    await progress.measure()
    expect([progress.standstill, progress.standstillMs([0, 1])]).toEqual([undefined, 0])
  })

  it('a partition without a leader is not reported as a standstill', async () => {
    const { progress, positions, marks, pass } = setUp()
    positions.set(1, '4')
    await pass(10_000)
    marks.delete(1)
    await pass(60_000)
    expect(progress.standstill).toBeUndefined()
  })

  it('a process stands still only if the position of none of its partitions moves', async () => {
    const { progress, positions, pass } = setUp()
    positions.set(1, '4')
    await pass(20_000)
    expect([progress.standstillMs([0]), progress.standstillMs([0, 1])]).toEqual([0, 15_000])
    positions.set(0, '9')
    await progress.measure()
    expect(progress.standstillMs([0, 1])).toBe(0)
  })
})

describe('a foreign member of the group', () => {
  it('a group member that reads other topics is reported as foreign', async () => {
    const { progress, group, pass } = setUp()
    group.members = [memberOf('me', [0]), memberOf('', [1], ['orders'])]
    await pass(15_000)
    expect(progress.foreignMember).toContain('is in the consumer group g and reads orders')
  })

  it('a group member that uses another Redis is reported as foreign', async () => {
    const { progress, group, pass, announced } = setUp()
    group.members = [memberOf('me', [0]), memberOf('other', [1])]
    await pass(15_000)
    expect(progress.foreignMember).toContain('uses another Redis or another REDIS_KEY_PREFIX')
    announced.add('other')
    await progress.measure()
    expect(progress.foreignMember).toBeUndefined()
  })

  it('neither a new group member nor a member of an earlier version is reported as foreign', async () => {
    const { progress, group, pass } = setUp()
    group.members = [memberOf('me', [0]), memberOf('new', [1])]
    await pass(10_000)
    expect(progress.foreignMember).toBeUndefined()
    group.members = [memberOf('me', [0]), memberOf('', [1])]
    await pass(60_000)
    expect(progress.foreignMember).toBeUndefined()
  })

  it('a foreign member is still reported while the group rebalances', async () => {
    const { progress, group, pass } = setUp()
    group.members = [memberOf('me', [0]), memberOf('', [1], ['orders'])]
    await pass(15_000)
    Object.assign(group, { state: 'PreparingRebalance', members: [] })
    await progress.measure()
    expect(progress.foreignMember).toContain('orders')
  })
})
