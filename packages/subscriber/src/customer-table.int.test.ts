import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { waitUntil } from '@customer-stream/runtime'
import { writeState } from '@customer-stream/schemas'
import { openTcpProxy } from '@customer-stream/testing'
import kafkajs from 'kafkajs'
import { expect, inject, it, onTestFinished } from 'vitest'
import { createStateTopic, type StateTopic } from './fixtures/state-topic.ts'
import { stateOf } from './fixtures/states.ts'
import { type CustomerTable, type CustomerTableOptions, openCustomerTable, SubscriberError } from './index.ts'

const { kafkaBrokers } = inject('brokers')

const open = (topic: StateTopic, options: Partial<CustomerTableOptions> = {}): CustomerTable => {
  const table = openCustomerTable({ kafka: topic.kafka, topic: topic.name, checkIntervalMs: 50, ...options })
  onTestFinished(() => table.close().catch(() => undefined))
  return table
}
const namesOf = (table: CustomerTable) =>
  Object.fromEntries([...table].map(({ customerUuid, customer }) => [customerUuid, customer.firstName]))

it('a table has all customers when it has caught up, and stays current', async () => {
  const topic = await createStateTopic(kafkaBrokers, { partitions: 3 })
  await topic.write(stateOf('a', 1), stateOf('b', 1), stateOf('c', 1), stateOf('a', 2))
  await topic.writeRaw('b', null)
  const table = open(topic)
  expect(table.stalenessMs).toBe(Number.POSITIVE_INFINITY)
  await table.untilCaughtUp()
  expect(namesOf(table)).toEqual({ a: '2', c: '1' })
  expect(table.size).toBe(2)
  expect(table.get('a')?.version).toEqual({ timestamp: 2, id: 'e' })
  expect(table.get('b')).toBeUndefined()

  await topic.write(stateOf('d', 1), stateOf('c', 2))
  await topic.writeRaw('a', null)
  await table.untilCaughtUp()
  expect(namesOf(table)).toEqual({ c: '2', d: '1' })
  expect(table.size).toBe(2)
})

it('an older or equal document does not change a table', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  const table = open(topic)
  const changes = table.changes()
  await topic.write(stateOf('a', 5), stateOf('a', 4), stateOf('a', 5, 'other'), stateOf('z', 1))
  await table.untilCaughtUp()
  expect(namesOf(table)).toEqual({ a: '5', z: '1' })
  const { value } = await changes.next()
  expect(value).toMatchObject({ customerUuid: 'a', previous: null, state: { version: { timestamp: 5 } } })
})

it('a table removes a customer whose newest document does not pass the filter', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  const ofDealer = (customerUuid: string, timestamp: number, dealerUuid: string) => ({
    ...stateOf(customerUuid, timestamp),
    dealerUuid,
  })
  const table = open(topic, { filter: ({ dealerUuid }) => dealerUuid === 'mine' })
  await topic.write(ofDealer('a', 1, 'mine'), ofDealer('b', 1, 'other'), ofDealer('a', 3, 'other'))
  await topic.write(ofDealer('a', 2, 'mine'), ofDealer('c', 1, 'mine'))
  await table.untilCaughtUp()
  expect(namesOf(table)).toEqual({ c: '1' })
  expect(table.size).toBe(1)
})

it('a table skips records without a customer, counts them and reports them', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  await topic.write(stateOf('a', 1))
  await topic.writeRaw('a', '{"foreign":true}')
  await topic.writeRaw('', writeState(stateOf('b', 1)))
  await topic.writeRaw('c', writeState(stateOf('d', 1)))
  const reasons: string[] = []
  const table = open(topic, {
    onInvalid: ({ reason, record }) => {
      reasons.push(`${record.offset} ${reason}`)
      return 'skip'
    },
  })
  await table.untilCaughtUp()
  expect(namesOf(table)).toEqual({ a: '1' })
  expect(table.invalidRecords).toBe(3)
  expect(reasons).toEqual(['1 not-a-state-document', '2 missing-key', '3 wrong-key'])
})

it('a table ends if onInvalid returns stop, and its error names the place of the record', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  await topic.writeRaw('a', 'text')
  const table = open(topic, { onInvalid: () => 'stop' })
  await expect(table.closed).rejects.toThrow(`${topic.name}/0 offset 0: not-json`)
  await expect(table.untilCaughtUp()).rejects.toThrow('not-json')
  await expect(table.changes().next()).rejects.toThrow('not-json')
})

it('each change of a table has the new state and the earlier state', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  const table = open(topic)
  const changes = table.changes()
  const next = async () => {
    const { value } = await changes.next()
    return [value?.customerUuid, value?.previous?.customer.firstName, value?.state?.customer.firstName]
  }
  await topic.write(stateOf('a', 1))
  expect(await next()).toEqual(['a', undefined, '1'])
  await topic.write(stateOf('a', 2))
  expect(await next()).toEqual(['a', '1', '2'])
  await topic.writeRaw('a', null)
  expect(await next()).toEqual(['a', '2', undefined])
  await table.close()
  expect(await changes.next()).toEqual({ done: true, value: undefined })
})

it("if changes are read slowly, they have each customer's newest state, in the order of the changes", async () => {
  const topic = await createStateTopic(kafkaBrokers)
  const table = open(topic)
  const changes = table.changes()
  await topic.write(stateOf('a', 1), stateOf('b', 1), stateOf('c', 1), stateOf('a', 2), stateOf('a', 3))
  await topic.writeRaw('c', null)
  await table.untilCaughtUp()
  await table.close()
  const seen = []
  for await (const { customerUuid, state } of changes) seen.push([customerUuid, state?.customer.firstName])
  expect(seen).toEqual([
    ['b', '1'],
    ['a', '3'],
  ])
})

it('a table catches up if partitions are empty, were emptied, or end with control records', async () => {
  const topic = await createStateTopic(kafkaBrokers, { config: { 'cleanup.policy': 'compact,delete' } })
  const table = open(topic)
  await table.untilCaughtUp()
  expect(table.size).toBe(0)
  const transactional = topic.kafka.producer({ transactionalId: randomUUID(), maxInFlightRequests: 1 })
  await transactional.connect()
  onTestFinished(() => transactional.disconnect())
  const aborted = await transactional.transaction()
  await aborted.send({ topic: topic.name, messages: [{ key: 'x', value: writeState(stateOf('x', 1)) }] })
  await aborted.abort()
  // Kafka answers before it writes the control record. Wait for this record, because Kafka hides
  // later records until the control record is written.
  const highOf = async () => (await topic.admin.fetchTopicOffsets(topic.name))[0]?.high ?? ''
  await waitUntil('the control record is there', highOf, (high) => high === '2')
  await table.untilCaughtUp()
  expect(table.size).toBe(0)
  await topic.write(stateOf('a', 1))
  await table.untilCaughtUp()
  expect(namesOf(table)).toEqual({ a: '1' })

  await topic.admin.deleteTopicRecords({ topic: topic.name, partitions: [{ partition: 0, offset: await highOf() }] })
  const later = open(topic)
  await later.untilCaughtUp()
  expect(later.size).toBe(0)
})

it('a table continues at its offset after its group has rebalanced', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  await topic.write(stateOf('a', 1), stateOf('b', 1))
  const groupIdPrefix = `g${randomUUID()}-`
  const table = open(topic, { groupIdPrefix })
  await table.untilCaughtUp()
  const { groups } = await topic.admin.listGroups()
  const groupId = groups.find((group) => group.groupId.startsWith(groupIdPrefix))?.groupId ?? ''
  const stranger = topic.kafka.consumer({ groupId })
  const joined = Promise.withResolvers<void>()
  stranger.on(stranger.events.GROUP_JOIN, () => joined.resolve())
  await stranger.connect()
  await stranger.subscribe({ topics: [topic.name] })
  await stranger.run({ eachMessage: async () => {} })
  await joined.promise
  await stranger.disconnect()
  await topic.write(stateOf('c', 1))
  await table.untilCaughtUp()
  expect(namesOf(table)).toEqual({ a: '1', b: '1', c: '1' })
})

it('a table ends if the topic was created again', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  await topic.write(stateOf('a', 1), stateOf('b', 1))
  const table = open(topic)
  await table.untilCaughtUp()
  await topic.admin.deleteTopics({ topics: [topic.name] })
  await waitUntil(
    'the topic is gone',
    () => topic.admin.listTopics(),
    (names) => !names.includes(topic.name),
  )
  await topic.admin.createTopics({ waitForLeaders: false, topics: [{ topic: topic.name, numPartitions: 1 }] })
  await topic.write(stateOf('c', 1))
  // The second message is used if the topic was missing for more than a second.
  await expect(table.closed).rejects.toThrow(/begins again at offset 0: .*Open a new table|does not exist/)
})

it('a table ends if its topic is deleted, because kafkajs would continue in the middle of a new topic', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  await topic.write(stateOf('a', 1))
  const table = open(topic)
  await table.untilCaughtUp()
  await topic.admin.deleteTopics({ topics: [topic.name] })
  await expect(table.closed).rejects.toThrow(`the topic ${topic.name} does not exist`)
})

it('the staleness of a table is the time since the table last had all records', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  await topic.write(stateOf('a', 1))
  const opened = performance.now()
  const table = open(topic)
  const staleness = await waitUntil(
    'the table was complete once',
    () => table.stalenessMs,
    (ms) => Number.isFinite(ms),
  )
  expect(staleness).toBeLessThanOrEqual(performance.now() - opened)
  const before = performance.now()
  await waitUntil(
    'the table was complete again',
    () => table.stalenessMs,
    (ms) => ms < performance.now() - before,
  )
})

it('the staleness of a table grows while Kafka is stalled', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  await topic.write(stateOf('a', 1))
  const [host = '', port] = (kafkaBrokers[0] ?? '').split(':')
  const network = await openTcpProxy({ host, port: Number(port) })
  onTestFinished(() => network.close())
  const kafka = new kafkajs.Kafka({
    brokers: [...kafkaBrokers],
    logLevel: kafkajs.logLevel.NOTHING,
    // Send all connections through the proxy. Without this factory, kafkajs would connect to the
    // address that Kafka advertises.
    socketFactory: ({ onConnect }) => connect(network.port, '127.0.0.1', onConnect),
  })
  const table = open({ ...topic, kafka })
  await table.untilCaughtUp()
  network.set('stalled')
  const stalledAt = performance.now()
  await topic.write(stateOf('a', 2))
  await waitUntil(
    'the table is stale',
    () => table.stalenessMs,
    (ms) => ms > 1500,
  )
  const stalledMs = performance.now() - stalledAt
  expect(table.stalenessMs).toBeGreaterThanOrEqual(stalledMs)
  expect(table.get('a')?.version.timestamp).toBe(1)
  network.set('open')
  await waitUntil(
    'the table is current again',
    () => table.stalenessMs,
    (ms) => ms < performance.now() - stalledAt - 1500,
  )
  expect(table.get('a')?.version.timestamp).toBe(2)
})

it('a table fails if its topic does not exist, and the error names the topic', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  const table = open({ ...topic, name: `${topic.name}.other` })
  await expect(table.closed).rejects.toThrow(`${topic.name}.other`)
  await expect(table.closed).rejects.toBeInstanceOf(SubscriberError)
})

it('a table is closed by its signal, and later calls fail', async () => {
  const topic = await createStateTopic(kafkaBrokers)
  const stop = new AbortController()
  const table = open(topic, { signal: stop.signal })
  await table.untilCaughtUp()
  stop.abort()
  await table.closed
  await expect(table.untilCaughtUp()).rejects.toThrow('the table is closed')
})
