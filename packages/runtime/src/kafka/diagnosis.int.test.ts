import { createRequire } from 'node:module'
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer } from 'node:net'
import { fetchEnds } from '@customer-stream/runtime/kafka'
import { freshNames, grantRights, type SecuredBrokers, startSecuredBrokers } from '@customer-stream/testing'
import { createAuthority } from '@customer-stream/testing/certificates'
import { silentLogger, testConsumer } from '@customer-stream/testing/vitest'
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from 'kafkajs'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { loadSettings } from '../process/settings.ts'
import { waitUntil } from '../process/wait-until.ts'
import {
  createAdmin,
  createDiagnose,
  createKafka,
  createPartitionConsumer,
  createWriteCheck,
  kafkaSettings,
  type TopicAdmin,
} from './index.ts'
import { forgetLogins } from './patches/login.ts'
import { administratorOf } from './topic-admin.ts'
import { checkTopics } from './topic-check.ts'

let brokers: SecuredBrokers
let all: TopicAdmin
const USER = 'somebody'
const PASSWORD = 'right'

const settingsOf = (address: string, env: Record<string, string> = {}) =>
  loadSettings(kafkaSettings, { KAFKA_BROKERS: address, KAFKA_PARTITIONS: '1', KAFKA_REPLICATION_FACTOR: '1', ...env })
const login = (password = PASSWORD, user = USER) => ({
  KAFKA_SASL_MECHANISM: 'scram-sha-256',
  KAFKA_SASL_USERNAME: user,
  KAFKA_SASL_PASSWORD: password,
})
const trusting = () => ({ KAFKA_SSL: 'true', KAFKA_SSL_CA: brokers.kafka.authority.ca })
const clientOf = (address: string, env?: Record<string, string>) => {
  const settings = settingsOf(address, env)
  return {
    settings,
    diagnose: createDiagnose(settings),
    kafka: createKafka(settings, { clientId: 'test', logger: silentLogger }),
  }
}
const adminOf = (address: string, env?: Record<string, string>) => {
  const client = clientOf(address, env)
  const admin = createAdmin(client.kafka)
  onTestFinished(() => admin.disconnect())
  return { ...client, admin }
}

beforeAll(async () => {
  brokers = await startSecuredBrokers()
  all = createAdmin(clientOf(brokers.kafka.admin).kafka)
  await all.connect()
  await brokers.kafka.setPassword(USER, PASSWORD)
})
afterAll(async () => {
  await all?.disconnect()
  await brokers?.stop()
})
beforeEach(forgetLogins)

const acl = (operation: AclOperationTypes, resourceType: AclResourceTypes, resourceName: string) => ({
  resourceType,
  resourceName,
  resourcePatternType: ResourcePatternTypes.LITERAL,
  principal: `User:${USER}`,
  host: '*',
  operation,
  permissionType: AclPermissionTypes.ALLOW,
})
const grant = (...right: Parameters<typeof acl>) => grantRights(administratorOf(all), [acl(...right)])

describe('a client that a broker refuses', () => {
  const addresses = () => brokers.kafka.addresses

  it.each<[string, () => [string, Record<string, string>?], string, RegExp[]]>([
    [
      'a wrong password',
      () => [addresses().scramWithoutTls, login('wrong')],
      'authentication',
      [/user "somebody"/, /SCRAM-SHA-256/, /KAFKA_SASL_PASSWORD/],
    ],
    [
      'an unknown user',
      () => [addresses().scramWithoutTls, login('right', 'nobody')],
      'authentication',
      [/user "nobody"/, /KAFKA_SASL_USERNAME/],
    ],
    [
      'a mechanism that is not offered',
      () => [addresses().scramWithoutTls, { ...login(), KAFKA_SASL_MECHANISM: 'plain' }],
      'authentication',
      [/do not offer PLAIN/, /KAFKA_SASL_MECHANISM/],
    ],
    [
      'a missing login',
      () => [addresses().scramWithoutTls],
      'authentication',
      [/demands a login/, /KAFKA_SASL_MECHANISM/],
    ],
    [
      'a login at a port without logins',
      () => [brokers.kafka.admin, login()],
      'authentication',
      [/accepts no logins/, /KAFKA_SASL_MECHANISM/],
    ],
    [
      'another authority',
      () => [addresses().tls, { KAFKA_SSL: 'true', KAFKA_SSL_CA: createAuthority('other').ca }],
      'tls',
      [/KAFKA_SSL_CA/],
    ],
    ['a missing KAFKA_SSL_CA', () => [addresses().tls, { KAFKA_SSL: 'true' }], 'tls', [/KAFKA_SSL_CA/]],
    ['a certificate that has expired', () => [addresses().expired, trusting()], 'tls', [/CERT_HAS_EXPIRED/, /Renew/]],
    [
      'a certificate for another host',
      () => [addresses().otherName, trusting()],
      'tls',
      [/names other hosts/, /KAFKA_BROKERS/],
    ],
    [
      'a missing client certificate',
      () => [addresses().mutualTls, trusting()],
      'tls',
      [/KAFKA_SSL_CERT/, /KAFKA_SSL_KEY/],
    ],
    ['plain text to a port for TLS', () => [addresses().tls], 'tls', [/KAFKA_SSL=true/]],
    ['TLS to a plain port', () => [brokers.kafka.admin, { KAFKA_SSL: 'true' }], 'tls', [/KAFKA_SSL\b/]],
    [
      'TLS to a port for logins',
      () => [addresses().scramWithoutTls, { KAFKA_SSL: 'true', ...login() }],
      'tls',
      [/KAFKA_SSL\b/],
    ],
    [
      'a host name that does not exist',
      () => ['no-such-host.invalid:9092'],
      'address',
      [/KAFKA_BROKERS/, /no-such-host.invalid/],
    ],
    [
      'a port at which nothing listens',
      () => ['127.0.0.1:1'],
      'outage',
      [/127.0.0.1:1/, /ECONNREFUSED/, /KAFKA_BROKERS/],
    ],
    [
      'an advertised address that cannot be reached',
      () => [addresses().unreachable],
      'outage',
      [/127.0.0.1:1\b/, /advertised.listeners/],
    ],
  ])('the diagnosis of the first connection explains: %s', { timeout: 30_000 }, async (_, client, reason, words) => {
    const [address, env] = client()
    const { admin, diagnose } = adminOf(address, env)
    const error = await admin
      .connect()
      .then(() => administratorOf(admin).listTopics())
      .then(
        () => 'no error',
        (failure: unknown) => failure,
      )
    const diagnosis = diagnose(error, 'connect')
    expect(diagnosis).toMatchObject({ reason, blocked: reason !== 'outage' })
    expect(diagnosis.message).toContain(address.split(':')[0])
    for (const word of words) expect(diagnosis.message).toMatch(word)
  })

  it.each<[string, () => [string, Record<string, string>?]]>([
    ['plain text', () => [brokers.kafka.admin]],
    ['TLS', () => [addresses().tls, trusting()]],
  ])(
    'a proxy that worked before and now closes %s connections is reported as an outage',
    { timeout: 30_000 },
    async (_, client) => {
      const [address, env] = client()
      let isUp = true
      const proxy = createTcpServer((socket) => {
        if (!isUp) return socket.destroy()
        const server = connectTcp(Number(address.split(':')[1]), '127.0.0.1')
        for (const end of [socket, server]) end.on('error', () => {})
        return socket.pipe(server).pipe(socket)
      }).listen(0, '127.0.0.1')
      onTestFinished(() => void proxy.close())
      await vi.waitUntil(() => proxy.listening)
      const behindProxy = `localhost:${(proxy.address() as AddressInfo).port}`
      const before = adminOf(behindProxy, env)
      await before.admin.connect()
      await administratorOf(before.admin).listTopics()
      isUp = false
      const { admin, diagnose } = adminOf(behindProxy, env)
      const error = await admin.connect().catch((failure: unknown) => failure)
      expect(diagnose(error, 'connect')).toMatchObject({ blocked: false, reason: 'outage' })
    },
  )
})

describe('a user without a right', () => {
  let topic: string
  beforeEach(async () => {
    topic = `${freshNames().topicPrefix}raw`
    await administratorOf(all).createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 2 }] })
    await fetchEnds(all, topic)
  })
  const messageOf = (work: Promise<unknown>, diagnose: ReturnType<typeof createDiagnose>) =>
    work.then(
      () => 'allowed',
      (error: unknown) => diagnose(error, 'do that').message,
    )

  it('the check of Kafka names the missing right to write before any record is sent', async () => {
    const { kafka, diagnose } = clientOf(brokers.kafka.addresses.scramWithoutTls, login())
    const writeCheck = createWriteCheck(kafka)
    onTestFinished(() => writeCheck.disconnect())
    await writeCheck.connect()
    expect(await messageOf(writeCheck.check(topic), diagnose)).toMatch(
      /user "somebody".*write to topic .*raw.*TOPIC_AUTHORIZATION_FAILED/,
    )
    await grant(AclOperationTypes.DESCRIBE, AclResourceTypes.TOPIC, topic)
    await waitUntil(
      'the topic may be described',
      () => messageOf(writeCheck.check(topic), diagnose),
      (message) => /Produce.*Grant WRITE/.test(message),
    )
    await grant(AclOperationTypes.WRITE, AclResourceTypes.TOPIC, topic)
    await waitUntil(
      'the user may write',
      () => messageOf(writeCheck.check(topic), diagnose),
      (message) => message === 'allowed',
    )
    expect((await all.fetchTopicOffsets(topic)).map(({ high }) => high)).toEqual(['0', '0'])
  })

  it('the check of Kafka names the missing rights to create a topic and to read its settings', async () => {
    const creating = { ...login(), KAFKA_CREATE_TOPICS: 'true' }
    const { admin, settings, diagnose } = adminOf(brokers.kafka.addresses.scramWithoutTls, creating)
    await admin.connect()
    const other = `${topic}.other`
    const check = (of = settings, name = other) =>
      checkTopics(admin, of, [{ topic: name, maxValueBytes: 1000 }], silentLogger)
    await grant(AclOperationTypes.DESCRIBE, AclResourceTypes.TOPIC, other)
    await waitUntil(
      'the creation is refused',
      () => messageOf(check(), diagnose),
      (message) => /create topic .*other \(TOPIC_AUTHORIZATION_FAILED.*Grant CREATE/.test(message),
    )
    await grant(AclOperationTypes.CREATE, AclResourceTypes.TOPIC, other)
    await waitUntil(
      'the diagnosis names KAFKA_REPLICATION_FACTOR',
      () => messageOf(check({ ...settings, KAFKA_REPLICATION_FACTOR: 3 }), diagnose),
      (message) => /INVALID_REPLICATION_FACTOR.*KAFKA_REPLICATION_FACTOR/.test(message),
    )
    await waitUntil(
      'the topic is created, but the user may not read its settings',
      () => messageOf(check(), diagnose),
      (message) => /read the settings of topic .*other .*Grant DESCRIBE_CONFIGS/.test(message),
    )
  })

  it.each([
    ['its group', AclResourceTypes.GROUP, /read topic .* in group .*GROUP_AUTHORIZATION_FAILED.*READ on the group/],
    ['its topic', AclResourceTypes.TOPIC, /read topic .*TOPIC_AUTHORIZATION_FAILED/],
  ])('a consumer continues when it gets the right to read %s', { timeout: 60_000 }, async (_, lacking, says) => {
    const groupId = `${topic}.group`
    const { kafka, diagnose } = clientOf(brokers.kafka.addresses.scramWithoutTls, login())
    const admin = createAdmin(kafka)
    await admin.connect()
    onTestFinished(() => admin.disconnect())
    await grant(AclOperationTypes.DESCRIBE, AclResourceTypes.TOPIC, topic)
    const right = { [AclResourceTypes.GROUP]: groupId, [AclResourceTypes.TOPIC]: topic } as Record<
      AclResourceTypes,
      string
    >
    for (const type of [AclResourceTypes.GROUP, AclResourceTypes.TOPIC])
      if (type !== lacking) await grant(AclOperationTypes.READ, type, right[type])
    await waitUntil(
      'the topic may be described',
      () => admin.describeTopics([topic]).catch(() => undefined),
      (metadata) => metadata !== undefined,
    )
    const dead: Error[] = []
    const consumer = createPartitionConsumer(kafka, admin, {
      ...testConsumer,
      groupId,
      topic,
      heartbeatIntervalMs: 1000,
      diagnose,
      onBatch: async () => undefined,
      onDead: (error) => dead.push(error),
    })
    onTestFinished(() => consumer.stop())
    await consumer.start()
    const { problem } = await waitUntil(
      'the problem is known',
      async () => ({ problem: consumer.problem }),
      (seen) => seen.problem !== undefined,
    )
    expect(problem).toMatchObject({ blocked: true, reason: 'authorization', message: expect.stringMatching(says) })
    await grant(AclOperationTypes.READ, lacking, right[lacking])
    await waitUntil(
      'the consumer fetches',
      async () => consumer.joined && consumer.problem === undefined,
      (healed) => healed,
      { timeoutMs: 40_000 },
    )
    expect(dead).toEqual([])
  })
})

describe('refused logins', () => {
  it('after a refused login, all clients of the process pause before the next login', { timeout: 30_000 }, async () => {
    const require = createRequire(import.meta.url)
    const { prototype } = require('kafkajs/src/network/connection')
    const sent = vi.spyOn(prototype, 'send')
    onTestFinished(() => sent.mockRestore())
    const logins = () =>
      (sent.mock.calls as [{ request: { apiName: string } }][]).filter(
        ([{ request }]) => request.apiName === 'SaslHandshake',
      ).length
    const clients = Array.from(
      { length: 4 },
      () => adminOf(brokers.kafka.addresses.scramWithoutTls, login('wrong')).admin,
    )
    const connectAll = () => Promise.allSettled(clients.map((client) => client.connect()))
    for (let round = 0; round < 3; round++) await connectAll()
    expect(logins()).toBe(1)
    await brokers.kafka.setPassword(USER, 'wrong')
    onTestFinished(() => brokers.kafka.setPassword(USER, PASSWORD))
    await waitUntil(
      'all clients are logged in',
      async () => (await connectAll()).map(({ status }) => status),
      (states) => states.every((status) => status === 'fulfilled'),
      { timeoutMs: 15_000 },
    )
    expect(logins()).toBe(5)
  })
})
