import { randomUUID } from 'node:crypto'
import { waitUntil } from '@customer-stream/runtime'
import { writeState } from '@customer-stream/schemas'
import { grantRights, type SecuredBrokers, startSecuredBrokers } from '@customer-stream/testing'
import kafkajs, { type Kafka } from 'kafkajs'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { createMemoryStore } from './fixtures/memory-store.ts'
import { bodyOf } from './fixtures/raw-topic.ts'
import { stateOf } from './fixtures/states.ts'
import { openCustomerTable, subscribeToCustomers, subscribeToDeliveries } from './index.ts'

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs
const USER = 'crm'
const PASSWORD = 'right'
const logLevel = kafkajs.logLevel.NOTHING

let brokers: SecuredBrokers
/** Clients of the test, which have all rights. */
let admin: ReturnType<Kafka['admin']>
let producer: ReturnType<Kafka['producer']>
beforeAll(async () => {
  brokers = await startSecuredBrokers()
  await brokers.kafka.setPassword(USER, PASSWORD, 'SCRAM-SHA-512')
  const kafka = new kafkajs.Kafka({ brokers: [brokers.kafka.admin], logLevel })
  admin = kafka.admin()
  producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
  await Promise.all([admin.connect(), producer.connect()])
})
afterAll(async () => {
  await Promise.all([admin?.disconnect(), producer?.disconnect()])
  await brokers?.stop()
})

/** Returns the client of a team that logs in with SCRAM over TLS. */
const kafkaOfUser = (): Kafka =>
  new kafkajs.Kafka({
    brokers: [brokers.kafka.addresses.scram],
    ssl: { ca: [brokers.kafka.authority.ca] },
    sasl: { mechanism: 'scram-sha-512', username: USER, password: PASSWORD },
    logLevel,
  })

const createTopic = async (): Promise<string> => {
  const topic = `t${randomUUID()}`
  await admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 1 }] })
  const isReady = () => admin.fetchTopicOffsets(topic).then(Boolean, () => false)
  await waitUntil('the topic has a leader', isReady, Boolean)
  return topic
}

type RightTo = 'topic' | 'group'
/**
 * Changes the user's right READ on the topic, or on all groups whose names begin with the topic's
 * name.
 */
const rightTo = (topic: string, what: RightTo) => {
  const right = {
    resourceType: what === 'topic' ? AclResourceTypes.TOPIC : AclResourceTypes.GROUP,
    resourceName: topic,
    resourcePatternType: what === 'topic' ? ResourcePatternTypes.LITERAL : ResourcePatternTypes.PREFIXED,
    principal: `User:${USER}`,
    host: '*',
    operation: AclOperationTypes.READ,
    permissionType: AclPermissionTypes.ALLOW,
  }
  return {
    grant: () => grantRights(admin, [right]),
    revoke: () => admin.deleteAcls({ filters: [right] }),
  }
}

interface Started {
  /** Rejects if the subscription ends before it has seen the customer. */
  until(customerUuid: string): Promise<unknown>
  readonly ended: Promise<void>
  stop(): Promise<void>
}

const started = (sees: (uuid: string) => boolean, ended: Promise<void>, stop: () => void): Started => {
  let failure: unknown
  ended.catch((error: unknown) => {
    failure = error
  })
  return {
    ended,
    until: async (uuid) => {
      const isDone = () => failure !== undefined || sees(uuid)
      await waitUntil(`the subscriber has ${uuid}`, isDone, Boolean)
      if (failure !== undefined) throw failure
    },
    stop: async () => {
      stop()
      await ended
    },
  }
}

/** Starts a subscriber of each kind. `start` may be called again, as after a restart. */
const kinds = {
  subscribeToCustomers: (topic: string) => {
    const seen: string[] = []
    return {
      valueFor: (uuid: string) => writeState(stateOf(uuid, 1)),
      start: () => {
        const stopping = new AbortController()
        const ended = subscribeToCustomers({
          kafka: kafkaOfUser(),
          topic,
          groupId: topic,
          signal: stopping.signal,
          onCustomer: ({ customerUuid }) => void seen.push(customerUuid),
        })
        return started(
          (uuid) => seen.includes(uuid),
          ended,
          () => stopping.abort(),
        )
      },
    }
  },
  subscribeToDeliveries: (topic: string) => {
    const store = createMemoryStore()
    return {
      valueFor: (uuid: string) => bodyOf(uuid, 1),
      start: () => {
        const stopping = new AbortController()
        const ended = subscribeToDeliveries({
          kafka: kafkaOfUser(),
          topic,
          groupId: topic,
          store,
          signal: stopping.signal,
        })
        return started(
          (uuid) => store.customers.has(uuid),
          ended,
          () => stopping.abort(),
        )
      },
    }
  },
  openCustomerTable: (topic: string) => ({
    valueFor: (uuid: string) => writeState(stateOf(uuid, 1)),
    start: () => {
      const table = openCustomerTable({ kafka: kafkaOfUser(), topic, groupIdPrefix: topic })
      return started(
        (uuid) => table.get(uuid) !== undefined,
        table.closed,
        () => void table.close(),
      )
    },
  }),
}
const names = Object.keys(kinds) as (keyof typeof kinds)[]

// Concurrent, because each test waits for kafkajs several times.
describe.concurrent('a user with SCRAM over TLS', () => {
  it.for(names.flatMap((name) => (['topic', 'group'] as const).map((what) => [name, what] as const)))(
    '%s names a revoked right to the %s, and continues when the right is granted again',
    { timeout: 60_000 },
    async ([name, what], { expect }) => {
      const topic = await createTopic()
      const { start, valueFor } = kinds[name](topic)
      const write = (uuid: string) => producer.send({ topic, messages: [{ key: uuid, value: valueFor(uuid) }] })
      await Promise.all([rightTo(topic, 'topic').grant(), rightTo(topic, 'group').grant()])
      const first = start()
      await write('before')
      await first.until('before')

      const isMissing = new RegExp(`the user needs the right READ on the ${what} ${topic}`)
      await rightTo(topic, what).revoke()
      await expect(first.ended).rejects.toThrow(isMissing)
      await write('during')
      await expect(start().ended).rejects.toThrow(isMissing)

      await rightTo(topic, what).grant()
      const again = start()
      await again.until('during')
      await again.stop()
    },
  )
})
