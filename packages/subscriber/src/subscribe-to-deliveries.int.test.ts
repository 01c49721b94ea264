import { randomUUID } from 'node:crypto'
import { waitUntil } from '@customer-stream/runtime'
import { type CustomerEvent, decide, partitionOf, type Version } from '@customer-stream/schemas'
import { describe, expect, inject, it, onTestFinished } from 'vitest'
import { createMemoryStore, type MemoryStore, withSteps } from './fixtures/memory-store.ts'
import { createRawTopic, type Delivery, type RawTopic } from './fixtures/raw-topic.ts'
import { type DeliveryStore, type DeliverySubscription, SubscriberError, subscribeToDeliveries } from './index.ts'

const { kafkaBrokers } = inject('brokers')

/** Starts a subscription. The group has the name of the test's own topic. */
const start = (topic: RawTopic, store: DeliveryStore, options: Partial<DeliverySubscription> = {}) => {
  const stopping = new AbortController()
  const ended = subscribeToDeliveries({
    kafka: topic.kafka,
    topic: topic.name,
    groupId: topic.name,
    store,
    ...options,
    signal: AbortSignal.any([stopping.signal, ...(options.signal ? [options.signal] : [])]),
  })
  // Avoid an unhandled rejection. A test that expects the rejection awaits `ended` later.
  ended.catch(() => undefined)
  const stop = async () => {
    stopping.abort()
    await ended
  }
  onTestFinished(() => stop().catch(() => undefined))
  return { ended, stop }
}

const untilStored = ({ log }: MemoryStore, ...texts: readonly string[]) =>
  waitUntil(
    `the store has ${texts}`,
    () => log,
    (all) => texts.every((text) => all.includes(text)),
  )
const untilAt = ({ positions }: MemoryStore, position: string) =>
  waitUntil(
    `the position is ${position}`,
    () => positions.get(0),
    (found) => found === position,
  )

describe('a subscription to deliveries', () => {
  it('a delivery subscription stores each newer event once, and resumes at its position', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    const store = createMemoryStore()
    await topic.deliver(['a', 2], ['b', 1], ['a', 1], ['a', 2], ['a', 3])
    const first = start(topic, store)
    await untilAt(store, '5')
    await first.stop()
    expect(store.log).toEqual(['a 2 e', 'b 1 e', 'a 3 e'])
    expect(store.customers.get('a')).toMatchObject({ customer: { firstName: '3' }, raw: { offset: '4' } })

    await topic.deliver(['a', 2], ['c', 1])
    const second = start(topic, store)
    await untilAt(store, '7')
    await second.stop()
    expect(store.log).toEqual(['a 2 e', 'b 1 e', 'a 3 e', 'c 1 e'])
  })

  const commitTo = async (topic: RawTopic, offset: string) =>
    topic.admin.setOffsets({ groupId: topic.name, topic: topic.name, partitions: [{ partition: 0, offset }] })

  it.each(['1', '3'])(
    'without a stored position a subscription begins at the oldest record, and ignores the committed offset %s',
    async (offset) => {
      const topic = await createRawTopic(kafkaBrokers)
      await topic.deliver(['a', 1], ['b', 1], ['c', 1])
      await commitTo(topic, offset)
      const store = createMemoryStore()
      start(topic, store)
      await untilAt(store, '3')
      expect(store.log).toEqual(['a 1 e', 'b 1 e', 'c 1 e'])
    },
  )

  it.each(['0', '2', '3'])(
    'a subscription begins at its position, ignores the committed offset %s, and commits nothing',
    async (offset) => {
      const topic = await createRawTopic(kafkaBrokers)
      await topic.deliver(['a', 1], ['b', 1], ['c', 1])
      await commitTo(topic, offset)
      const store = createMemoryStore()
      store.positions.set(0, '1')
      const subscriber = start(topic, store)
      await untilAt(store, '3')
      await subscriber.stop()
      expect(store.log).toEqual(['b 1 e', 'c 1 e'])
      const [committed] = await topic.admin.fetchOffsets({ groupId: topic.name, topics: [topic.name] })
      expect(committed?.partitions).toMatchObject([{ partition: 0, offset }])
    },
  )

  it('a subscription begins at the oldest record that Kafka still has', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    await topic.deliver(['a', 1], ['b', 1], ['c', 1])
    await topic.admin.deleteTopicRecords({ topic: topic.name, partitions: [{ partition: 0, offset: '1' }] })
    const store = createMemoryStore()
    start(topic, store)
    await untilAt(store, '3')
    expect(store.log).toEqual(['b 1 e', 'c 1 e'])
  })

  it('a subscription neither loses nor repeats an event when members crash, stop and join', async () => {
    const topic = await createRawTopic(kafkaBrokers, { partitions: 3 })
    const customers = ['a', 'b', 'c', 'd', 'e', 'f']
    const deliveriesOf = (round: number): Delivery[] =>
      Array.from({ length: 60 }, (_, i) => [customers[i % 6] ?? '', 1 + ((i * 7 + round * 13) % 40), `e${i % 3}`])
    const sent = [0, 1, 2, 3].map(deliveriesOf)
    const memory = createMemoryStore()
    const untilRead = (count: number) =>
      waitUntil(
        `${count} records were read`,
        () => [...memory.positions.values()].reduce((sum, position) => sum + Number(position), 0),
        (sum) => sum === count,
      )
    let calls = 0
    let crashAt = 5
    // Each crash ends one member, before or after the work of one of its calls. After a crash the
    // next member waits until the other member notices the rebalance. This takes up to 3 s, the
    // interval of heartbeats. The number of calls between two crashes grows, so that the test has
    // few crashes.
    const crashing = withSteps(memory, async (name) => {
      calls += 1
      if (calls !== crashAt) return
      crashAt = Math.ceil(crashAt * 1.6)
      throw new Error(`crash ${name}`)
    })
    let crashes = 0
    const failures: Error[] = []
    const stopping = new AbortController()
    onTestFinished(() => stopping.abort())
    const supervise = async () => {
      while (!stopping.signal.aborted)
        await start(topic, crashing, { maxRecords: 4, signal: stopping.signal }).ended.catch((error: Error) => {
          if (error.message.includes('crash')) crashes += 1
          else failures.push(error)
        })
    }
    const untilMembers = (count: number) =>
      waitUntil(
        `the group has ${count} members`,
        async () => (await topic.admin.describeGroups([topic.name])).groups[0]?.members.length,
        (members) => members === count,
      )
    const supervisors = [supervise(), supervise()]
    await topic.deliver(...(sent[0] ?? []))
    await untilRead(60)
    // A third member joins and leaves while records arrive.
    const third = start(topic, memory, { maxRecords: 4 })
    await topic.deliver(...(sent[1] ?? []))
    await untilMembers(3)
    await topic.deliver(...(sent[2] ?? []))
    await third.stop()
    await topic.deliver(...(sent[3] ?? []))
    await untilRead(240)
    stopping.abort()
    await Promise.all(supervisors)
    expect(failures).toEqual([])
    expect(crashes).toBeGreaterThan(5)

    const newest = new Map<string, Version>()
    const expected = sent.flat().flatMap(([customerUuid, timestamp, id = 'e']) => {
      if (decide(newest.get(customerUuid), { timestamp, id }) !== 'apply') return []
      newest.set(customerUuid, { timestamp, id })
      return [`${customerUuid} ${timestamp} ${id}`]
    })
    for (const customer of customers) {
      const ofCustomer = (texts: readonly string[]) => texts.filter((text) => text.startsWith(`${customer} `))
      expect(ofCustomer(memory.log)).toEqual(ofCustomer(expected))
    }
    expect(new Map([...memory.customers].map(([uuid, { version }]) => [uuid, version]))).toEqual(newest)
  })

  it('a subscription ignores aborted transactions, and continues after control records', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    const transactional = topic.kafka.producer({ transactionalId: randomUUID(), maxInFlightRequests: 1 })
    await transactional.connect()
    onTestFinished(() => transactional.disconnect())
    const store = createMemoryStore()
    const first = start(topic, store)
    await topic.deliver(['a', 1])
    await untilAt(store, '1')
    const aborted = await transactional.transaction()
    await aborted.send({ topic: topic.name, messages: [{ key: 'x', value: 'aborted' }] })
    await aborted.abort()
    // Wait until Kafka has written the control record, because Kafka hides later records until
    // then.
    await waitUntil(
      'the control record is there',
      async () => (await topic.admin.fetchTopicOffsets(topic.name))[0]?.high,
      (high) => high === '3',
    )
    await first.stop()
    start(topic, store)
    await topic.deliver(['b', 1])
    await untilStored(store, 'b 1 e')
    expect([store.log, store.positions.get(0)]).toEqual([['a 1 e', 'b 1 e'], '4'])
  })
})

describe('the store', () => {
  it('a slow store gets one chunk at a time, and a stopped subscription waits for the transaction', async () => {
    const topic = await createRawTopic(kafkaBrokers, { partitions: 2 })
    const customers = ['a', 'b', 'c', 'd', 'e', 'f']
    expect(new Set(customers.map((customer) => partitionOf(customer, 2))).size).toBe(2)
    await topic.deliver(...customers.map((customer): Delivery => [customer, 1]))
    const memory = createMemoryStore()
    const entered = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    let running = 0
    let highest = 0
    const commit = async (given: Parameters<DeliveryStore['commit']>[0]) => {
      running += 1
      highest = Math.max(highest, running)
      entered.resolve()
      await gate.promise
      running -= 1
      return memory.commit(given)
    }
    const subscriber = start(topic, { ...memory, commit }, { maxRecords: 1 })
    await entered.promise
    const stopped = subscriber.stop()
    gate.resolve()
    await stopped
    expect([highest, memory.log.length, [...memory.positions.values()]]).toEqual([1, 1, ['1']])
  })

  it('if a store fails, the subscription ends, and the store gets the records again after a restart', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    await topic.deliver(['a', 1], ['b', 1])
    const memory = createMemoryStore()
    const cause = new TypeError('no database')
    let calls = 0
    const commit = () => {
      calls += 1
      throw cause
    }
    const { ended } = start(topic, { ...memory, commit })
    await expect(ended).rejects.toThrow(`${topic.name}/0 offset 0: store.commit failed: no database`)
    await expect(ended).rejects.toMatchObject({ cause })
    await expect(ended).rejects.toBeInstanceOf(SubscriberError)
    expect(calls).toBe(1)
    start(topic, memory)
    await untilStored(memory, 'a 1 e', 'b 1 e')
  })

  it('if a store cannot read a position, the subscription ends, even without new records', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    const position = () => Promise.reject(new Error('no database'))
    const { ended } = start(topic, { ...createMemoryStore(), position })
    await expect(ended).rejects.toThrow(`${topic.name}/0: store.position failed: no database`)
  })

  const hang = () => new Promise<never>(() => {})
  it.each<[string, Partial<DeliveryStore>]>([
    ['/0: store.position took longer than 100 ms (storeTimeoutMs)', { position: hang }],
    ['/0 offset 0: storing 1 records took longer than 100 ms (storeTimeoutMs)', { versions: hang }],
    ['/0 offset 0: storing 1 records took longer than 100 ms (storeTimeoutMs)', { commit: hang }],
  ])('if a store hangs, the subscription ends: %s', async (message, methods) => {
    const topic = await createRawTopic(kafkaBrokers)
    await topic.deliver(['a', 1])
    const { ended } = start(topic, { ...createMemoryStore(), ...methods }, { storeTimeoutMs: 100 })
    await expect(ended).rejects.toThrow(`${topic.name}${message}`)
  })

  it('a subscription continues at a position that another process has moved', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    await topic.deliver(['a', 1], ['b', 1], ['c', 1], ['d', 1])
    const memory = createMemoryStore()
    let isMoved = false
    const versions = (uuids: readonly string[]) => {
      // Another process stores three records between two calls of this process.
      if (!isMoved) {
        const events = ['a', 'b', 'c'].map((customerUuid) => ({ customerUuid, version: { timestamp: 1, id: 'e' } }))
        memory.commit({ partition: 0, from: undefined, next: '3', events: events as CustomerEvent[] })
      }
      isMoved = true
      return memory.versions(uuids)
    }
    start(topic, { ...memory, versions }, { maxRecords: 2 })
    await untilAt(memory, '4')
    expect(memory.log).toEqual(['a 1 e', 'b 1 e', 'c 1 e', 'd 1 e'])
  })

  it('a subscription ends if its store refuses a commit although the position has not moved', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    await topic.deliver(['a', 1])
    const { ended } = start(topic, { ...createMemoryStore(), commit: () => false })
    await expect(ended).rejects.toThrow(
      `${topic.name}/0: store.commit returned false, although the position is still undefined`,
    )
  })

  it('a subscription ends if Kafka has deleted the records at its position, even without new records', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    await topic.deliver(['a', 1], ['b', 1], ['c', 1])
    await topic.admin.deleteTopicRecords({ topic: topic.name, partitions: [{ partition: 0, offset: '3' }] })
    const store = createMemoryStore()
    store.positions.set(0, '1')
    const message = `${topic.name}/0 offset 1: Kafka has deleted the records before offset 3, and this`
    await expect(start(topic, store).ended).rejects.toThrow(message)
    store.positions.set(0, '3')
    start(topic, store)
    await topic.deliver(['d', 1])
    await untilStored(store, 'd 1 e')
  })

  it('a subscription ends if Kafka deletes the next records during a commit', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    await topic.deliver(['a', 1])
    const memory = createMemoryStore()
    const commit: DeliveryStore['commit'] = async (given) => {
      await topic.deliver(['b', 1], ['c', 1])
      await topic.admin.deleteTopicRecords({ topic: topic.name, partitions: [{ partition: 0, offset: '2' }] })
      return memory.commit(given)
    }
    const message = `${topic.name}/0 offset 1: Kafka has deleted the records before offset 2, and this`
    await expect(start(topic, { ...memory, commit }).ended).rejects.toThrow(message)
    expect([memory.log, memory.positions.get(0)]).toEqual([['a 1 e'], '1'])
  })

  it('if the stored position is after the end of the partition, the subscription ends', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    await topic.deliver(['a', 1])
    const store = createMemoryStore()
    store.positions.set(0, '2')
    const message = `${topic.name}/0 offset 2: the partition ends at offset 1. The topic was created again`
    await expect(start(topic, store).ended).rejects.toThrow(message)
  })
})

describe('an invalid delivery', () => {
  const withForeign = async () => {
    const topic = await createRawTopic(kafkaBrokers)
    await topic.deliver(['a', 1])
    await topic.writeRaw('a', 'no json')
    await topic.writeRaw('a', null)
    await topic.deliver(['b', 1])
    return topic
  }

  it('an invalid delivery ends the subscription by default, and the records before it are stored', async () => {
    const topic = await withForeign()
    const store = createMemoryStore()
    await expect(start(topic, store).ended).rejects.toThrow(`${topic.name}/0 offset 1: not-json: `)
    expect([store.log, store.positions.get(0)]).toEqual([['a 1 e'], '1'])
  })

  it('a subscription continues after an invalid delivery, if onInvalid skips it or park stores it', async () => {
    const topic = await withForeign()
    const store = createMemoryStore()
    const parked: string[] = []
    start(topic, store, {
      onInvalid: async ({ record }) => (record.value === null ? 'skip' : 'park'),
      park: async ({ reason, record }) => void parked.push(`${record.offset} ${reason}`),
    })
    await untilAt(store, '4')
    expect([store.log, parked]).toEqual([['a 1 e', 'b 1 e'], ['1 not-json']])
  })
})

describe('a consumer of deliveries that has died', () => {
  it('a subscription fails if its consumer ends: kafkajs has no codec for the records', async () => {
    const topic = await createRawTopic(kafkaBrokers, { config: { 'compression.type': 'zstd' } })
    await topic.deliver(['a', 1])
    const { ended } = start(topic, createMemoryStore())
    await expect(ended).rejects.toThrow(/has ended: .*ZSTD compression not implemented/)
  })

  it('a subscription fails if its consumer ends: the topic does not exist', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    const { ended } = start({ ...topic, name: `${topic.name}.other` }, createMemoryStore())
    await expect(ended).rejects.toThrow(`${topic.name}.other`)
  })

  it('a subscription refuses to start with an invalid limit or an aborted signal', async () => {
    const topic = await createRawTopic(kafkaBrokers)
    await expect(start(topic, createMemoryStore(), { maxRecords: 0 }).ended).rejects.toThrow('maxRecords is 0')
    await start(topic, createMemoryStore(), { signal: AbortSignal.abort() }).ended
  })
})
