import { describe, expect, it, vi } from 'vitest'
import { LOW } from './fixtures/fake-kafka.ts'
import { setUp } from './fixtures/fake-projection.ts'
import { RefusedPositionsError } from './position-store.ts'

describe('a position that Kafka cannot serve', () => {
  it.each([
    ['5', 5, 'a position whose records Kafka has deleted'],
    ['1001', 0, 'a position beyond the end'],
    ['1e2', 0, 'a position with letters'],
    ['-1', 0, 'a negative position'],
  ])('the position %s is replaced with the oldest offset, and %i records count as lost: %s', async (stored, lost) => {
    const { assign, projection, batch, redis, seeks, registry } = setUp()
    redis.position = stored
    await assign()
    expect([redis.position, seeks]).toEqual([LOW, [LOW]])
    expect(await projection.onBatch(batch(10, ['a']))).toBe('11')
    expect(await registry.metrics()).toMatch(new RegExp(`^projector_lost_records_total\\S* ${lost}$`, 'm'))
  })

  it('lost records are counted once although the position is read twice', async () => {
    const { assign, redis, registry } = setUp()
    redis.position = '5'
    await assign()
    await assign()
    expect(await registry.metrics()).toMatch(/^projector_lost_records_total\S* 5$/m)
  })
})

describe('positions of another cluster', () => {
  it('a projection applies nothing with positions of another cluster, and reports the reason', async () => {
    const { projection, batch, before, redis, steps } = setUp()
    const refused = new RefusedPositionsError('identity', 'belongs to another cluster')
    before.claim = () => {
      throw refused
    }
    projection.positions.assign([0])
    const lost = new AbortController()
    const handled = projection.onBatch(batch(10, ['a'], lost.signal))
    await vi.waitFor(() => expect(projection.waitingFor).toBe(`positions: ${refused.message}`))
    lost.abort()
    expect([await handled, redis.position, steps.includes('apply')]).toEqual([undefined, undefined, false])
    await projection.stop()
  })

  it('a projection waits while a restored Redis has positions of another cluster', async () => {
    const { assign, projection, batch, before, seeks } = setUp()
    await assign()
    before.claim = () => {
      throw new RefusedPositionsError('identity', 'belongs to another cluster')
    }
    await expect(projection.checkPositions()).rejects.toThrow('another cluster')
    await vi.waitFor(() => expect(projection.waitingFor).toContain('another cluster'))
    const lost = new AbortController()
    const handled = projection.onBatch(batch(10, ['a'], lost.signal))
    lost.abort()
    expect(await handled).toBeUndefined()
    seeks.length = 0
    before.claim = undefined
    await vi.waitFor(() => expect(seeks).toEqual([LOW]))
    expect([await projection.onBatch(batch(10, ['a'])), projection.waitingFor]).toEqual(['11', undefined])
  })
})

describe('a partition without a leader', () => {
  it('a partition without a leader gets its position with its first batch', async () => {
    const { projection, kafka, redis, seeks, batch } = setUp()
    kafka.hasLeader = false
    projection.positions.assign([0])
    await new Promise(setImmediate)
    expect([redis.position, seeks]).toEqual([undefined, []])
    kafka.hasLeader = true
    // Without a position in Redis, kafkajs may begin at any offset.
    expect([await projection.onBatch(batch(12, ['b'])), redis.position, seeks]).toEqual([undefined, LOW, [LOW]])
    expect([await projection.onBatch(batch(10, ['a'])), redis.position]).toEqual(['11', '11'])
  })

  it('the position of a partition is loaded when the partition gets a leader, even without a batch', async () => {
    const { projection, kafka, redis, seeks, watermarks } = setUp()
    kafka.hasLeader = false
    projection.positions.assign([0])
    await new Promise(setImmediate)
    await projection.positions.loadNewlyLed(watermarks())
    expect([redis.position, seeks]).toEqual([undefined, []])
    kafka.hasLeader = true
    await projection.positions.loadNewlyLed(watermarks())
    expect([redis.position, seeks]).toEqual([LOW, [LOW]])
    await projection.positions.loadNewlyLed(watermarks())
    expect(seeks).toEqual([LOW])
  })
})
