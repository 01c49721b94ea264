import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '@customer-stream/runtime'
import { writeState } from '@customer-stream/schemas'
import { describe, expect, inject, it, onTestFinished } from 'vitest'
import { createStateTopic, type StateTopic } from './fixtures/state-topic.ts'
import { stateOf } from './fixtures/states.ts'
import { type CustomerChange, type CustomerSubscription, SubscriberError, subscribeToCustomers } from './index.ts'

const { kafkaBrokers } = inject('brokers')

const textOf = ({ customerUuid, state }: CustomerChange) => `${customerUuid} ${state?.customer.firstName ?? 'erased'}`

/** Starts a subscription that logs its changes. The group has the name of the test's own topic. */
const start = (topic: StateTopic, options: Partial<CustomerSubscription> = {}) => {
  const stopping = new AbortController()
  const seen: string[] = []
  const ended = subscribeToCustomers({
    kafka: topic.kafka,
    topic: topic.name,
    groupId: topic.name,
    signal: stopping.signal,
    ...options,
    onCustomer: async (change) => {
      await options.onCustomer?.(change)
      seen.push(textOf(change))
    },
  })
  // Avoid an unhandled rejection. A test that expects the rejection awaits `ended` later.
  ended.catch(() => undefined)
  const stop = async () => {
    stopping.abort()
    await ended
  }
  onTestFinished(() => stop().catch(() => undefined))
  return {
    seen,
    ended,
    stop,
    until: (text: string) =>
      waitUntil(
        `the subscriber has seen ${text}`,
        () => seen,
        (all) => all.includes(text),
      ),
  }
}

const committed = async (topic: StateTopic) => {
  const [found] = await topic.admin.fetchOffsets({ groupId: topic.name, topics: [topic.name] })
  return found?.partitions.map(({ offset }) => Number(offset))
}

describe('a subscription', () => {
  it('a subscription gets documents and tombstones in order, and resumes exactly after the last record', async () => {
    const topic = await createStateTopic(kafkaBrokers)
    await topic.write(stateOf('a', 1), stateOf('b', 1), stateOf('a', 2))
    await topic.writeRaw('a', null)
    const first = start(topic)
    await first.until('a erased')
    await first.stop()
    expect(first.seen).toEqual(['a 1', 'b 1', 'a 2', 'a erased'])
    expect(await committed(topic)).toEqual([4])

    await topic.write(stateOf('c', 1))
    const second = start(topic)
    await second.until('c 1')
    expect(second.seen).toEqual(['c 1'])
  })

  it('the handler gets the record, and a document that keeps members of a newer schema', async () => {
    const topic = await createStateTopic(kafkaBrokers)
    await topic.write({ ...stateOf('a', 1), consent: { email: true } } as ReturnType<typeof stateOf>)
    const changes: CustomerChange[] = []
    await start(topic, { onCustomer: (change) => void changes.push(change) }).until('a 1')
    expect(changes).toMatchObject([
      { customerUuid: 'a', state: { consent: { email: true } }, record: { topic: topic.name, offset: '0' } },
    ])
  })

  it('a subscription does not start if its signal has aborted', async () => {
    const topic = await createStateTopic(kafkaBrokers)
    await start(topic, { signal: AbortSignal.abort() }).ended
  })

  it('a subscription waits for a slow handler, keeps the order, and commits while the handler runs', async () => {
    const topic = await createStateTopic(kafkaBrokers)
    await topic.write(...Array.from({ length: 20 }, (_, i) => stateOf('a', i + 1)))
    let running = 0
    let highest = 0
    const gate = Promise.withResolvers<void>()
    const subscriber = start(topic, {
      commitIntervalMs: 0,
      onCustomer: async ({ state }) => {
        running += 1
        highest = Math.max(highest, running)
        if (state?.version.timestamp === 11) await gate.promise
        running -= 1
      },
    })
    await subscriber.until('a 10')
    expect(await committed(topic)).toEqual([10])
    gate.resolve()
    await subscriber.until('a 20')
    expect(highest).toBe(1)
    expect(subscriber.seen).toEqual(Array.from({ length: 20 }, (_, i) => `a ${i + 1}`))
  })

  it('with concurrency, a subscription handles partitions at the same time, each in order', async () => {
    const topic = await createStateTopic(kafkaBrokers, { partitions: 4 })
    const customers = ['a', 'b', 'c', 'd', 'e', 'f']
    await topic.write(...[1, 2, 3].flatMap((n) => customers.map((customer) => stateOf(customer, n))))
    const both = Promise.withResolvers<void>()
    const partitions = new Set<number>()
    const subscriber = start(topic, {
      concurrency: 2,
      onCustomer: async ({ record }) => {
        partitions.add(record.partition)
        if (partitions.size === 2) both.resolve()
        await both.promise
      },
    })
    for (const customer of customers) await subscriber.until(`${customer} 3`)
    for (const customer of customers)
      expect(subscriber.seen.filter((text) => text.startsWith(`${customer} `))).toEqual(
        [1, 2, 3].map((n) => `${customer} ${n}`),
      )
  })

  it('a subscription loses no record when members join and leave during a slow handler', async () => {
    const topic = await createStateTopic(kafkaBrokers, { partitions: 2 })
    const customers = ['a', 'b', 'c', 'd', 'e', 'f']
    await topic.write(...[1, 2, 3, 4].flatMap((n) => customers.map((customer) => stateOf(customer, n))))
    const gate = Promise.withResolvers<void>()
    const first = start(topic, { onCustomer: () => gate.promise })
    await waitUntil(
      'the first member has partitions',
      async () => (await topic.admin.describeGroups([topic.name])).groups[0]?.state,
      (state) => state === 'Stable',
    )
    const second = start(topic)
    await waitUntil(
      'the group rebalances',
      async () => (await topic.admin.describeGroups([topic.name])).groups[0]?.state,
      (state) => state === 'PreparingRebalance',
    )
    gate.resolve()
    const all = () => [...first.seen, ...second.seen]
    await waitUntil('all records were handled', all, (seen) => new Set(seen).size === 24)
    await second.stop()
    await topic.write(stateOf('a', 5), stateOf('b', 5), stateOf('c', 5), stateOf('d', 5))
    await waitUntil('all records were handled', all, (seen) => new Set(seen).size === 28)
  })

  it('if a subscriber is killed before a commit, the next subscriber gets the uncommitted records again', async () => {
    const topic = await createStateTopic(kafkaBrokers)
    await topic.write(stateOf('a', 1), stateOf('b', 1), stateOf('last', 1))
    const file = join(mkdtempSync(join(tmpdir(), 'subscriber-')), 'customers')
    const program = fileURLToPath(new URL('./fixtures/append-to-file.ts', import.meta.url))
    const run = () => {
      const args = ['--conditions=customer-stream-source', program, kafkaBrokers.join(), topic.name, topic.name, file]
      const child = spawn(process.execPath, args, { stdio: 'inherit' })
      onTestFinished(() => void child.kill('SIGKILL'))
      return child
    }
    const linesWith = (count: number) =>
      waitUntil(
        `the file has ${count} lines`,
        () => {
          try {
            return readFileSync(file, 'utf8').trim().split('\n')
          } catch {
            return []
          }
        },
        (lines) => lines.length === count,
      )
    const killed = run()
    await linesWith(3)
    killed.kill('SIGKILL')
    await once(killed, 'exit')
    expect(await committed(topic)).toEqual([-1])
    run()
    expect(await linesWith(6)).toEqual(['0 a 1', '1 b 1', '2 last 1', '0 a 1', '1 b 1', '2 last 1'])
  })

  it('a subscription continues at the oldest record if Kafka has deleted the next records', async () => {
    const topic = await createStateTopic(kafkaBrokers, { config: { 'cleanup.policy': 'compact,delete' } })
    await topic.write(stateOf('a', 1), stateOf('b', 1), stateOf('c', 1))
    await topic.admin.setOffsets({
      groupId: topic.name,
      topic: topic.name,
      partitions: [{ partition: 0, offset: '1' }],
    })
    await topic.admin.deleteTopicRecords({ topic: topic.name, partitions: [{ partition: 0, offset: '2' }] })
    const subscriber = start(topic)
    await subscriber.until('c 1')
    expect(subscriber.seen).toEqual(['c 1'])
  })
})

describe('a handler', () => {
  it('if a handler throws, the subscription ends, and the handler gets the record again after a restart', async () => {
    const topic = await createStateTopic(kafkaBrokers)
    await topic.write(stateOf('a', 1), stateOf('b', 1), stateOf('c', 1))
    const cause = new TypeError('no database')
    let calls = 0
    const subscriber = start(topic, {
      onCustomer: ({ customerUuid }) => {
        if (customerUuid !== 'b') return
        calls += 1
        throw cause
      },
    })
    await expect(subscriber.ended).rejects.toThrow(`${topic.name}/0 offset 1: onCustomer failed: no database`)
    await expect(subscriber.ended).rejects.toMatchObject({ cause })
    await expect(subscriber.ended).rejects.toBeInstanceOf(SubscriberError)
    expect([subscriber.seen, calls]).toEqual([['a 1'], 1])
    expect(await committed(topic)).toEqual([1])

    const restarted = start(topic)
    await restarted.until('c 1')
    expect(restarted.seen).toEqual(['b 1', 'c 1'])
  })

  it('if a handler hangs, the subscription ends after the timeout, and the signal of the handler aborts', async () => {
    const topic = await createStateTopic(kafkaBrokers)
    await topic.write(stateOf('a', 1), stateOf('b', 1))
    let signal: AbortSignal | undefined
    const subscriber = start(topic, {
      handlerTimeoutMs: 100,
      onCustomer: (change) => {
        if (change.customerUuid === 'a') return
        signal = change.signal
        return new Promise(() => {})
      },
    })
    await expect(subscriber.ended).rejects.toThrow(/\/0 offset 1: the handler took longer than 100 ms/)
    expect(signal?.aborted).toBe(true)
    expect(await committed(topic)).toEqual([1])
  })

  it('a stopped subscription waits for the running handler, and commits its record', async () => {
    const topic = await createStateTopic(kafkaBrokers)
    await topic.write(stateOf('a', 1), stateOf('b', 1))
    const entered = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const subscriber = start(topic, {
      onCustomer: () => {
        entered.resolve()
        return gate.promise
      },
    })
    await entered.promise
    const stopped = subscriber.stop()
    gate.resolve()
    await stopped
    expect(subscriber.seen).toEqual(['a 1'])
    expect(await committed(topic)).toEqual([1])
  })
})

describe('an invalid record', () => {
  const withForeign = async () => {
    const topic = await createStateTopic(kafkaBrokers)
    await topic.write(stateOf('a', 1))
    await topic.writeRaw('a', '{"foreign":true}')
    await topic.writeRaw('', null)
    await topic.writeRaw('x', writeState(stateOf('y', 1)))
    await topic.write(stateOf('b', 1))
    return topic
  }

  it('an invalid record ends the subscription by default', async () => {
    const subscriber = start(await withForeign())
    await expect(subscriber.ended).rejects.toThrow(/\/0 offset 1: not-a-state-document: customerUuid is missing/)
    expect(subscriber.seen).toEqual(['a 1'])
  })

  it('a subscription continues after an invalid record, if onInvalid skips it or park stores it', async () => {
    const topic = await withForeign()
    const parked: string[] = []
    const subscriber = start(topic, {
      onInvalid: async ({ reason }) => (reason === 'missing-key' ? 'skip' : 'park'),
      park: async ({ reason, record }) => void parked.push(`${record.offset} ${reason}`),
    })
    await subscriber.until('b 1')
    await subscriber.stop()
    expect(subscriber.seen).toEqual(['a 1', 'b 1'])
    expect(parked).toEqual(['1 not-a-state-document', '3 wrong-key'])
    expect(await committed(topic)).toEqual([5])
  })

  it.each<[string, object]>([
    ['onInvalid decided park, but there is no park function', { onInvalid: async () => 'park' }],
    ['onInvalid decided ignore, not skip, park or stop', { onInvalid: () => 'ignore' }],
    [
      'park failed: disk full',
      { onInvalid: async () => 'park', park: async () => Promise.reject(new Error('disk full')) },
    ],
    ['onInvalid failed: oops', { onInvalid: () => Promise.reject(new Error('oops')) }],
  ])('a subscription ends with the error: %s', async (message, options) => {
    const topic = await withForeign()
    const subscriber = start(topic, options as Partial<CustomerSubscription>)
    await expect(subscriber.ended).rejects.toThrow(`${topic.name}/0 offset 1: ${message}`)
    expect(await committed(topic)).toEqual([1])
  })
})

describe('a consumer that has died', () => {
  it('a subscription fails if its consumer ends: kafkajs has no codec for the records', async () => {
    const topic = await createStateTopic(kafkaBrokers, { config: { 'compression.type': 'zstd' } })
    await topic.write(stateOf('a', 1))
    await expect(start(topic).ended).rejects.toThrow(/has ended: .*ZSTD compression not implemented/)
  })

  it('a subscription fails if its consumer ends: the topic does not exist', async () => {
    const topic = await createStateTopic(kafkaBrokers)
    const subscriber = start({ ...topic, name: `${topic.name}.other` })
    await expect(subscriber.ended).rejects.toThrow(`${topic.name}.other`)
  })

  it('a subscription fails if its consumer ends: no broker answers', async () => {
    const topic = await createStateTopic(kafkaBrokers)
    const kafka = topic.kafka.constructor as new (config: object) => StateTopic['kafka']
    const nowhere = new kafka({ brokers: ['127.0.0.1:1'], retry: { retries: 0 }, logLevel: 0 })
    await expect(start(topic, { kafka: nowhere }).ended).rejects.toThrow(`cannot read ${topic.name}: `)
  })
})
