import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '@customer-stream/runtime'
import { writeState } from '@customer-stream/schemas'
import { openTcpProxy } from '@customer-stream/testing'
import kafkajs, { type Kafka, type KafkaConfig } from 'kafkajs'
import { expect, inject, it, onTestFinished } from 'vitest'
import { createMemoryStore } from './fixtures/memory-store.ts'
import { bodyOf, createRawTopic } from './fixtures/raw-topic.ts'
import { createStateTopic } from './fixtures/state-topic.ts'
import { stateOf } from './fixtures/states.ts'
import { subscribeToCustomers, subscribeToDeliveries } from './index.ts'

const { kafkaBrokers } = inject('brokers')

/** Opens a proxy, and returns a client whose connections go through this proxy. */
const openNetwork = async (config: Partial<KafkaConfig> = {}) => {
  const [host = '', port] = (kafkaBrokers[0] ?? '').split(':')
  const network = await openTcpProxy({ host, port: Number(port) })
  onTestFinished(() => network.close())
  const sockets: Socket[] = []
  const kafka = new kafkajs.Kafka({
    ...config,
    brokers: [...kafkaBrokers],
    logLevel: kafkajs.logLevel.NOTHING,
    socketFactory: ({ onConnect }) => {
      const socket = connect(network.port, '127.0.0.1', onConnect)
      sockets.push(socket)
      return socket
    },
  })
  return { network, kafka, sockets, bytesRead: () => sockets.reduce((sum, socket) => sum + socket.bytesRead, 0) }
}

type Handler = (customerUuid: string) => void | Promise<void>

interface Running {
  readonly name: string
  /** Customers whose handling has ended. */
  readonly seen: readonly string[]
  readonly stop: () => Promise<void>
  /** Writes one record for each customer. Each record has at least `bytes` bytes. */
  readonly write: (customerUuids: readonly string[], bytes?: number) => Promise<void>
  /** Rejects if the subscription ends before it has seen the customer. */
  readonly until: (customerUuid: string) => Promise<unknown>
}

const run = (
  name: string,
  seen: readonly string[],
  subscribe: (signal: AbortSignal) => Promise<void>,
  write: Running['write'],
): Running => {
  const stopping = new AbortController()
  let failure: unknown
  const ended = subscribe(stopping.signal).catch((error: unknown) => {
    failure = error
  })
  const stop = async () => {
    stopping.abort()
    await ended
    expect(failure).toBeUndefined()
  }
  onTestFinished(stop)
  const until = async (customerUuid: string) => {
    const isDone = () => failure !== undefined || seen.includes(customerUuid)
    await waitUntil(`${name} has ${customerUuid}`, isDone, Boolean, { timeoutMs: 60_000 })
    expect(failure).toBeUndefined()
  }
  return { name, seen, stop, write, until }
}

const subscriptions = {
  subscribeToCustomers: async (kafka: Kafka, handler: Handler = () => undefined) => {
    const topic = await createStateTopic(kafkaBrokers)
    const seen: string[] = []
    const subscribe = (signal: AbortSignal) =>
      subscribeToCustomers({
        kafka,
        topic: topic.name,
        groupId: topic.name,
        signal,
        onCustomer: async ({ customerUuid }) => {
          await handler(customerUuid)
          seen.push(customerUuid)
        },
      })
    return run('subscribeToCustomers', seen, subscribe, async (customerUuids, bytes = 0) => {
      for (const uuid of customerUuids)
        await topic.writeRaw(uuid, writeState(stateOf(uuid, 1)).toString().padEnd(bytes))
    })
  },
  subscribeToDeliveries: async (kafka: Kafka, handler: Handler = () => undefined) => {
    const topic = await createRawTopic(kafkaBrokers)
    const store = createMemoryStore()
    const seen: string[] = []
    const commit: typeof store.commit = async (commitment) => {
      for (const { customerUuid } of commitment.events) await handler(customerUuid)
      const isMine = await store.commit(commitment)
      if (isMine) seen.push(...commitment.events.map(({ customerUuid }) => customerUuid))
      return isMine
    }
    const subscribe = (signal: AbortSignal) =>
      subscribeToDeliveries({ kafka, topic: topic.name, groupId: topic.name, signal, store: { ...store, commit } })
    return run('subscribeToDeliveries', seen, subscribe, async (customerUuids, bytes = 0) => {
      for (const uuid of customerUuids) await topic.writeRaw(uuid, bodyOf(uuid, 1).padEnd(bytes))
    })
  },
}
const names = Object.keys(subscriptions) as (keyof typeof subscriptions)[]

/**
 * Duration of an outage. It is longer than the time after which the group removes a silent member
 * (10 s).
 */
const OUTAGE_MS = 15_000
/** With these options all attempts of a request fail within the outage. */
const impatient = { requestTimeout: 3000, retry: { retries: 2 } }

it.each(['cut', 'stalled'] as const)(
  'both subscriptions wait while all connections are %s, and continue afterwards',
  { timeout: 150_000 },
  async (state) => {
    const { network, kafka } = await openNetwork(impatient)
    const running = await Promise.all(names.map((name) => subscriptions[name](kafka)))
    const all = (step: (one: Running) => Promise<unknown>) => Promise.all(running.map(step))
    await all((one) => one.write(['before']))
    await all((one) => one.until('before'))
    network.set(state)
    await all((one) => one.write(['during']))
    await sleep(OUTAGE_MS)
    for (const { seen } of running) expect(seen).toEqual(['before'])
    network.set('open')
    await all((one) => one.until('during'))
    await all((one) => one.write(['after']))
    await all((one) => one.until('after'))
    for (const { seen } of running) expect([...new Set(seen)]).toEqual(['before', 'during', 'after'])
  },
)

/** Resolves when a consumer of this client has ended in an outage, and is starting again. */
const restartOf = async (kafka: Kafka, sockets: readonly Socket[]) => {
  const crashed = Promise.withResolvers<void>()
  const create = kafka.consumer.bind(kafka)
  kafka.consumer = (config) => {
    const consumer = create(config)
    let crashes = 0
    consumer.on(consumer.events.CRASH, () => {
      crashes += 1
      // After the first crash, a fetch may still open a connection. After the second crash, a
      // connection means that the consumer starts again.
      if (crashes === 2) crashed.resolve()
    })
    return consumer
  }
  await crashed.promise
  const opened = sockets.length
  const count = () => sockets.length
  await waitUntil('the consumer connects again', count, (now) => now > opened, { timeoutMs: 30_000 })
}

it.each(names)('%s does not join its group again if it ends during an outage', { timeout: 60_000 }, async (name) => {
  const { network, kafka, sockets } = await openNetwork({ retry: { retries: 3 } })
  const restarted = restartOf(kafka, sockets)
  const { write, until, stop } = await subscriptions[name](kafka)
  await write(['before'])
  await until('before')
  network.set('cut')
  await restarted
  await stop()
  network.set('open')
  // A consumer that joined again would connect within a second.
  await sleep(3000)
  expect(sockets.every(({ destroyed }) => destroyed)).toBe(true)
})

it.each(names)('%s stops fetching records while its handler is slow', async (name) => {
  const { kafka, bytesRead } = await openNetwork()
  const gate = Promise.withResolvers<void>()
  const entered = Promise.withResolvers<void>()
  const subscription = await subscriptions[name](kafka, () => {
    entered.resolve()
    return gate.promise
  })
  onTestFinished(() => gate.resolve())
  const customers = Array.from({ length: 60 }, (_, i) => `c${i}`)
  await subscription.write(customers, 100_000)
  await entered.promise
  await sleep(4000)
  // A fetch returns at most 1 MiB of a partition. subscribeToDeliveries may fetch twice: before and
  // after it seeks to its position. The topic has 6 MB. Without the stop, fetches would read all
  // records within a second.
  expect(bytesRead()).toBeLessThan(3_000_000)
  gate.resolve()
  await subscription.until('c59')
  expect(subscription.seen).toEqual(customers)
})
