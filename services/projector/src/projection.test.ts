import type { Logger } from '@customer-stream/runtime'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { LOW } from './fixtures/fake-kafka.ts'
import { setUp, silent } from './fixtures/fake-projection.ts'

describe('a projection', () => {
  it('without a position, the oldest offset is stored before any event is applied', async () => {
    const { assign, redis, seeks } = setUp()
    await assign()
    expect([redis.position, seeks]).toEqual([LOW, [LOW]])
  })

  it('a projection applies chunk by chunk and moves the position after each chunk', async () => {
    const { assign, projection, batch, redis, steps } = setUp()
    await assign()
    steps.length = 0
    expect(await projection.onBatch(batch(10, ['a', 'b', 'c']))).toBe('13')
    expect(steps).toEqual(['apply', 'move', 'apply', 'move'])
    expect([redis.position, [...redis.customers.keys()]]).toEqual(['13', ['a', 'b', 'c']])
  })

  it('a projection drops records from a wrong offset, and seeks to the position in Redis', async () => {
    const { assign, projection, batch, redis, seeks } = setUp()
    await assign()
    redis.position = '50'
    expect(await projection.onBatch(batch(99, ['a']))).toBeUndefined()
    expect([redis.customers.size, seeks.at(-1)]).toEqual([0, '50'])
    expect(await projection.onBatch(batch(50, ['a']))).toBe('51')
  })

  it('a projection seeks to the position in Redis if the expected position differs', async () => {
    const { assign, projection, batch, redis, seeks } = setUp()
    await assign()
    redis.position = '50'
    expect(await projection.onBatch(batch(10, ['a']))).toBeUndefined()
    expect([redis.position, seeks.at(-1)]).toEqual(['50', '50'])
    expect(await projection.onBatch(batch(50, ['a']))).toBe('51')
    expect(redis.position).toBe('51')
  })

  it('a projection limits its log lines while another group moves the same positions', async () => {
    const warnings: unknown[] = []
    const logger = { ...silent, warn: (...line: unknown[]) => warnings.push(line) } as unknown as Logger
    const { assign, projection, batch, redis, seeks } = setUp({ logger })
    await assign()
    warnings.length = 0
    for (let moved = 20; moved < 100; moved += 10) {
      redis.position = String(moved)
      expect(await projection.onBatch(batch(moved - 10, ['a']))).toBeUndefined()
      expect(seeks.at(-1)).toBe(String(moved))
    }
    expect(warnings.length).toBe(1)
  })

  it('the position does not move past an unusable record before quarantine has the record', async () => {
    const { assign, projection, batch, redis, steps, quarantined, before } = setUp()
    await assign()
    steps.length = 0
    const gaveUp = new AbortController()
    before.quarantine = (count) => {
      if (count === 3) gaveUp.abort()
      throw new Error('Kafka is down')
    }
    expect(await projection.onBatch(batch(10, [undefined, 'b'], gaveUp.signal))).toBeUndefined()
    expect([steps, redis.position]).toEqual([['quarantine', 'quarantine', 'quarantine'], LOW])
    before.quarantine = undefined
    expect(await projection.onBatch(batch(10, [undefined, 'b']))).toBe('12')
    expect(quarantined).toMatchObject([
      { topic: 'q', headers: { reason: 'not-json', stage: 'projector', topic: 't', partition: '0', offset: '10' } },
    ])
    expect([...redis.customers.keys()]).toEqual(['b'])
  })

  it('a rebuild quarantines only records that the previous projection has not reached', async () => {
    const { assign, projection, batch, redis, quarantined } = setUp()
    redis.previous = '11'
    await assign()
    expect(await projection.onBatch(batch(10, [undefined, undefined]))).toBe('12')
    expect(quarantined).toMatchObject([{ headers: { offset: '11' } }])
    redis.previous = 'letters'
    expect(await projection.onBatch(batch(12, [undefined]))).toBe('13')
    expect(quarantined).toMatchObject([{ headers: { offset: '11' } }, { headers: { offset: '12' } }])
  })

  it('a projection moves the position past a batch without records', async () => {
    const { assign, projection, batch, redis } = setUp()
    await assign()
    expect(await projection.onBatch({ ...batch(10, []), nextOffset: '15' })).toBe('15')
    expect(redis.position).toBe('15')
  })

  it('a projection waits for Redis, reports the outage, and continues', async () => {
    const { assign, projection, batch, before } = setUp()
    await assign()
    const waiting: (string | undefined)[] = []
    const notWriteable = "Stream isn't writeable and enableOfflineQueue options is false"
    const failures = ['Command timed out', notWriteable, 'no reason', 'LOADING']
    before.apply = () => {
      waiting.push(projection.waitingFor)
      const failure = failures.shift()
      if (failure !== undefined) throw new Error(failure)
    }
    expect(await projection.onBatch(batch(10, ['a']))).toBe('11')
    expect([waiting, projection.waitingFor]).toEqual([
      [
        undefined,
        ...['Command timed out', 'Command timed out', 'Socket timeout', 'LOADING'].map((why) => `Redis: ${why}`),
      ],
      undefined,
    ])
  })

  it('a shutdown commits, ends the pauses, and then stops the consumer', async () => {
    const { assign, projection, batch, steps, paused, before } = setUp()
    await assign()
    expect(await projection.onBatch(batch(10, ['a']))).toBe('11')
    before.quarantine = () => {
      throw new Error('Kafka is down')
    }
    expect(await projection.onBatch(batch(11, [undefined]))).toBe('11')
    expect([...paused]).toEqual([0])
    steps.length = 0
    let pausedAtStop: number | undefined
    before.stop = () => {
      pausedAtStop = paused.size
    }
    await projection.stop()
    expect([steps, pausedAtStop]).toEqual([['commit 11', 'stop'], 0])
  })

  it("a shutdown waits at most two seconds for Kafka's answer to the last commit", async () => {
    const { assign, projection, before, steps } = setUp()
    await assign()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    before[`commit ${LOW}`] = () => new Promise<never>(() => {})
    const stopped = projection.stop()
    await vi.advanceTimersByTimeAsync(1999)
    expect(steps).not.toContain('stop')
    await vi.advanceTimersByTimeAsync(1)
    await stopped
    expect(steps.at(-1)).toBe('stop')
  })
})

describe('the state topic', () => {
  const withState = () => setUp({ stateTopic: 's', chunkRecords: 10 })
  const documents = (published: ReturnType<typeof setUp>['published']) =>
    published.map(({ key, value }) => [String(key), JSON.parse(String(value)).version.timestamp])

  it('documents are published after Redis has the customers, and before the position moves', async () => {
    const { assign, projection, batch, steps, published, redis } = withState()
    await assign()
    steps.length = 0
    expect(await projection.onBatch(batch(10, ['a', 'b', 'a']))).toBe('13')
    expect(steps).toEqual(['apply', 'publish', 'move'])
    expect(documents(published)).toEqual([
      ['a', 12],
      ['b', 11],
    ])
    expect(published[0]).toMatchObject({ topic: 's', timestamp: 1000 })
    expect(redis.published).toEqual({ stateTopicId: 'state-1', offset: '13' })
  })

  it('stale events are not published, and the document of a duplicate is published again', async () => {
    const { assign, projection, batch, redis, published } = withState()
    await assign()
    await projection.onBatch(batch(10, ['a', 'b']))
    published.length = 0
    redis.position = '11'
    await assign()
    await projection.onBatch(batch(11, ['b']))
    expect(documents(published)).toEqual([['b', 11]])
    published.length = 0
    const newer = { ...redis.customers.get('b')!, version: { timestamp: 99, id: 'e' } }
    redis.customers.set('b', newer)
    await projection.onBatch(batch(12, ['b']))
    expect([published, redis.position]).toEqual([[], '13'])
  })

  it('while the state topic does not store a partition’s documents, only this partition pauses', async () => {
    const { assign, projection, batch, redis, before, paused, published, seeks, registry } = withState()
    await assign()
    const { promise: isBack, resolve: comeBack } = Promise.withResolvers<void>()
    before.publish = () => isBack
    expect(await projection.onBatch(batch(10, ['a']))).toBe('10')
    expect([redis.position, [...paused]]).toEqual([LOW, [0]])
    comeBack()
    await vi.waitFor(() => expect(paused.size).toBe(0))
    expect([redis.position, seeks.at(-1), documents(published)]).toEqual(['11', '11', [['a', 10]]])
    expect(await registry.metrics()).toMatch(/^projector_events_total\{outcome="applied"\S* 1$/m)
    expect(await registry.metrics()).toMatch(/^projector_held_partitions\S* 0$/m)
  })

  it('documents are sent again until the state topic stores them', async () => {
    const { assign, projection, batch, redis, before, published } = withState()
    await assign()
    before.publish = (count) => {
      if (count < 4) throw new Error('no leader')
    }
    expect(await projection.onBatch(batch(10, ['a']))).toBe('11')
    expect([documents(published), redis.position]).toEqual([[['a', 10]], '11'])
  })

  it('the position goes back to the offset from which the state topic lacks documents', async () => {
    const { assign, seeks, redis } = withState()
    redis.position = '50'
    await assign()
    expect([redis.position, seeks]).toEqual([LOW, [LOW]])
    redis.position = '50'
    redis.published = { stateTopicId: 'state-1', offset: '40' }
    await assign()
    expect([redis.position, seeks]).toEqual(['40', ['40']])
    redis.position = '30'
    await assign()
    expect([redis.position, seeks]).toEqual(['30', ['30']])
  })

  it.each([
    ['may lack customers if Kafka has deleted raw records, and the log says so', LOW, 1],
    ['lacks no customer if Kafka has all raw records', '0', 0],
  ])('the new state topic of a partition %s', async (_, low, warnings) => {
    const warn = vi.spyOn(silent, 'warn')
    onTestFinished(() => warn.mockRestore())
    const { assign, redis, kafka } = withState()
    kafka.low = low
    redis.position = '50'
    await assign()
    const messages = warn.mock.calls.map(([, message]) => String(message))
    expect(messages.filter((message) => message.includes('lacks documents of applied events')).length).toBe(1)
    expect(messages.filter((message) => message.includes('lacks each customer')).length).toBe(warnings)
  })

  it('a state topic that was deleted and created again is filled again', async () => {
    const { assign, projection, batch, redis, kafka, seeks } = withState()
    await assign()
    await projection.onBatch(batch(10, ['a', 'b']))
    kafka.stateTopicId = 'state-2'
    await projection.checkPositions()
    expect([redis.position, seeks.at(-1)]).toEqual([LOW, LOW])
    await projection.onBatch(batch(10, ['a', 'b']))
    expect(redis.published).toEqual({ stateTopicId: 'state-2', offset: '12' })
  })

  it('a state topic that was created again during a chunk is filled from the start', async () => {
    const { assign, projection, batch, redis, kafka, before, steps } = withState()
    await assign()
    await projection.onBatch(batch(10, ['a', 'b']))
    kafka.stateTopicId = 'state-2'
    // The check of positions has read the id of the new topic, but has not compared positions yet.
    const { promise: isCompared, resolve: compare } = Promise.withResolvers<void>()
    before.watermarks = () => isCompared
    const checked = projection.checkPositions()
    await vi.waitFor(() => expect(steps.at(-1)).toBe('watermarks'))
    await projection.onBatch(batch(12, ['c']))
    compare()
    await checked
    expect(redis.position).toBe(LOW)
  })

  it('a position that moves during its check is not counted as a rewind', async () => {
    const { assign, projection, batch, before, paused, registry, steps } = withState()
    await assign()
    const { promise: isBack, resolve: comeBack } = Promise.withResolvers<void>()
    before.publish = () => isBack
    await projection.onBatch(batch(10, ['a']))
    // The position has moved in Redis, but the expected position has not changed yet.
    const { promise: isChecked, resolve: goOn } = Promise.withResolvers<void>()
    before.positions = () => isChecked
    comeBack()
    await vi.waitFor(() => expect(steps.at(-1)).toBe('positions'))
    before.positions = undefined
    await projection.checkPositions()
    goOn()
    await vi.waitFor(() => expect(paused.size).toBe(0))
    expect(await registry.metrics()).toMatch(/^projector_rewinds_total\S* 0$/m)
  })

  it('documents are published again after a pause if another projector has published meanwhile', async () => {
    const { assign, projection, batch, redis, before, paused, published } = withState()
    await assign()
    const { promise: isBack, resolve: comeBack } = Promise.withResolvers<void>()
    before.publish = () => isBack
    expect(await projection.onBatch(batch(10, ['a']))).toBe('10')
    // The other projector has published an older document, and moves the position back.
    redis.token = undefined
    comeBack()
    await vi.waitFor(() => expect(paused.size).toBe(0))
    expect(redis.position).toBe(LOW)
    expect(await projection.onBatch(batch(10, ['a']))).toBe('11')
    expect(documents(published)).toEqual([
      ['a', 10],
      ['a', 10],
    ])
  })

  it('a projector that lost its partition during a failed send moves the position back', async () => {
    const { assign, projection, batch, redis, before, steps } = withState()
    await assign()
    const lost = new AbortController()
    before.publish = () => {
      redis.position = '20'
      lost.abort()
      throw new Error('no answer')
    }
    expect(await projection.onBatch(batch(10, ['a'], lost.signal))).toBeUndefined()
    await vi.waitFor(() => expect(steps).toContain('lower'))
    expect(redis.position).toBe('10')
  })

  it('a projector that has published too late moves the position back', async () => {
    const { assign, projection, batch, redis, before, steps } = withState()
    await assign()
    before.publish = () => {
      // Before the publication, the partition’s new owner moves the position forward.
      redis.position = '20'
    }
    expect(await projection.onBatch(batch(10, ['a']))).toBeUndefined()
    await vi.waitFor(() => expect(steps).toContain('lower'))
    expect(redis.position).toBe('10')
  })
})

describe('regressions', () => {
  it('a projection ignores fetched batches of a partition that is no longer assigned', async () => {
    const { assign, projection, batch, seeks, before } = setUp()
    await assign()
    projection.positions.assign([])
    seeks.length = 0
    expect([await projection.onBatch(batch(10, ['a'])), seeks]).toEqual([undefined, []])
    await assign()
    seeks.length = 0
    before.watermarks = () => {
      before.watermarks = undefined
      projection.positions.assign([])
    }
    expect(await projection.onBatch(batch(77, ['a']))).toBeUndefined()
    expect(seeks).toEqual([])
  })

  it('customers that a failover lost before the position moved are applied again', async () => {
    const { assign, projection, batch, redis, before, lose } = setUp()
    await assign()
    before.move = (count) => {
      // Ignore the first move, which was made when the position was loaded.
      if (count !== 2) return
      lose()
      throw new Error('connection lost')
    }
    expect(await projection.onBatch(batch(10, ['a', 'b']))).toBe('12')
    expect([...redis.customers.keys()]).toEqual(['a', 'b'])
  })

  it('if Redis is emptied during the first chunk, a projection applies the chunk again', async () => {
    const { assign, projection, batch, redis, before, lose } = setUp()
    await assign()
    before.move = (count) => {
      if (count !== 2) return
      lose()
      redis.position = undefined
    }
    expect(await projection.onBatch(batch(10, ['a', 'b']))).toBeUndefined()
    expect(await projection.onBatch(batch(10, ['a', 'b']))).toBe('12')
    expect([...redis.customers.keys()]).toEqual(['a', 'b'])
  })

  it('a chunk does not move a position that was loaded again meanwhile', async () => {
    const { assign, projection, batch, redis, before, lose } = setUp()
    await assign()
    before.apply = async (count) => {
      if (count !== 2) return
      lose()
      redis.position = undefined
      await projection.onBatch(batch(77, []))
    }
    await projection.onBatch(batch(10, ['a', 'b', 'c', 'd']))
    before.apply = undefined
    expect(redis.position).toBe(LOW)
    expect(await projection.onBatch(batch(10, ['a', 'b', 'c', 'd']))).toBe('14')
    expect([...redis.customers.keys()].sort()).toEqual(['a', 'b', 'c', 'd'])
  })

  it('if the load of a position was aborted, the next batch loads the position', async () => {
    const { assign, projection, batch, redis, before } = setUp()
    await assign()
    redis.position = '20'
    const aborted = new AbortController()
    before.watermarks = () => aborted.abort()
    expect(await projection.onBatch(batch(10, ['a'], aborted.signal))).toBeUndefined()
    before.watermarks = undefined
    expect(await projection.onBatch(batch(10, ['a']))).toBeUndefined()
    expect(await projection.onBatch(batch(20, ['a']))).toBe('21')
  })

  it('if the load of a position was aborted, the check seeks to the position in Redis', async () => {
    const { assign, projection, batch, redis, before, seeks } = setUp()
    await assign()
    redis.position = '20'
    const aborted = new AbortController()
    before.watermarks = () => aborted.abort()
    expect(await projection.onBatch(batch(10, ['a'], aborted.signal))).toBeUndefined()
    before.watermarks = undefined
    await projection.checkPositions()
    expect(seeks.at(-1)).toBe('20')
  })

  it('after the loss of a partition during a chunk, no further chunk is applied', async () => {
    const { assign, projection, batch, redis, before } = setUp()
    await assign()
    before.move = () => projection.positions.assign([])
    expect(await projection.onBatch(batch(10, ['a', 'b', 'c']))).toBeUndefined()
    expect(redis.position).toBe('12')
    expect(await projection.onBatch(batch(12, ['c']))).toBeUndefined()
    expect(redis.position).toBe('12')
  })

  it('a projection does not delay a rebalance while positions cannot be read', async () => {
    const { projection, batch, before } = setUp()
    before.positions = () => {
      throw new Error('Redis is down')
    }
    projection.positions.assign([0])
    const lost = new AbortController()
    const handled = projection.onBatch(batch(10, ['a'], lost.signal))
    lost.abort()
    expect(await handled).toBeUndefined()
    await projection.stop()
  })
})
