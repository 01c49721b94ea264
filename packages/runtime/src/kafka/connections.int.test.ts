import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freshNames, grantRights, type SecuredBrokers, startSecuredBrokers } from '@customer-stream/testing'
import { createAuthority } from '@customer-stream/testing/certificates'
import { silentLogger, testConsumer } from '@customer-stream/testing/vitest'
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from 'kafkajs'
import { afterAll, beforeAll, beforeEach, describe, expect, it, type TestContext } from 'vitest'
import { loadSettings } from '../process/settings.ts'
import { waitUntil } from '../process/wait-until.ts'
import {
  createAdmin,
  createDiagnose,
  createKafka,
  createPartitionConsumer,
  createVerifiedProducer,
  fetchEnds,
  kafkaRules,
  kafkaSettings,
  type TopicAdmin,
} from './index.ts'
import { forgetLogins } from './patches/login.ts'
import { administratorOf } from './topic-admin.ts'

type Env = Readonly<Record<string, string>>

const USER = 'somebody'
/** User that can only log in by SCRAM-SHA-512. */
const USER_512 = 'somebody-512'
const PASSWORD = 'right'
const folder = mkdtempSync(join(tmpdir(), 'connections-'))
const { topicPrefix } = freshNames()
const foreign = createAuthority('foreign authority')
let brokers: SecuredBrokers
let all: TopicAdmin

const clientOf = (env: Env, onTestFinished: TestContext['onTestFinished']) => {
  const settings = loadSettings(kafkaSettings, env, kafkaRules)
  const kafka = createKafka(settings, { clientId: 'test', logger: silentLogger })
  const admin = createAdmin(kafka)
  onTestFinished(() => admin.disconnect())
  return { kafka, admin, diagnose: createDiagnose(settings) }
}

beforeAll(async () => {
  brokers = await startSecuredBrokers()
  await brokers.kafka.setPassword(USER, PASSWORD)
  await brokers.kafka.setPassword(USER_512, PASSWORD, 'SCRAM-SHA-512')
  const settings = loadSettings(kafkaSettings, { KAFKA_BROKERS: brokers.kafka.admin })
  all = createAdmin(createKafka(settings, { clientId: 'test', logger: silentLogger }))
  await all.connect()
  const rights = [
    [AclResourceTypes.TOPIC, AclOperationTypes.WRITE],
    [AclResourceTypes.TOPIC, AclOperationTypes.READ],
    [AclResourceTypes.GROUP, AclOperationTypes.READ],
  ] as const
  await grantRights(
    administratorOf(all),
    [USER, USER_512, brokers.kafka.plainUser.name, 'client'].flatMap((user) =>
      rights.map(([resourceType, operation]) => ({
        resourceType,
        operation,
        resourceName: topicPrefix,
        resourcePatternType: ResourcePatternTypes.PREFIXED,
        principal: `User:${user}`,
        host: '*',
        permissionType: AclPermissionTypes.ALLOW,
      })),
    ),
  )
})
afterAll(async () => {
  await all?.disconnect()
  await brokers?.stop()
  rmSync(folder, { recursive: true })
})
beforeEach(forgetLogins)

/** Returns the settings for a listener, with its authority if the listener has TLS. */
const at = (way: keyof SecuredBrokers['kafka']['addresses'], isPlain = false): Env => ({
  KAFKA_BROKERS: brokers.kafka.addresses[way],
  ...(!isPlain && { KAFKA_SSL: 'true', KAFKA_SSL_CA: brokers.kafka.authority.ca }),
})
const login = (mechanism: string, name = USER, password = PASSWORD): Env => ({
  KAFKA_SASL_MECHANISM: mechanism,
  KAFKA_SASL_USERNAME: name,
  KAFKA_SASL_PASSWORD: password,
})
const plainLogin = (password = brokers.kafka.plainUser.password) =>
  login('plain', brokers.kafka.plainUser.name, password)
const certificateOf = (authority = brokers.kafka.authority, notAfter?: Date): Env => {
  const { cert, key } = authority.issue('client', [], notAfter)
  return { KAFKA_SSL_CERT: cert, KAFKA_SSL_KEY: key }
}
/** Returns a bundle of ten authorities. The given authority is the last. */
const bundleWith = (ca: string): Env => {
  const others = Array.from({ length: 9 }, (_, i) => createAuthority(`authority ${i}`).ca)
  return { KAFKA_SSL_CA: [...others, ca].join('') }
}

let files = 0
/** Replaces each secret by `NAME_FILE`, the path of a file with the secret. */
const inFiles = (env: Env): Env =>
  Object.fromEntries(
    Object.entries(env).map(([name, value]) => {
      if (!/^KAFKA_SSL_|PASSWORD$/.test(name)) return [name, value]
      const path = join(folder, `${files++}`)
      writeFileSync(path, `${value}\n`)
      return [`${name}_FILE`, path]
    }),
  )

// A concurrent test must use the `onTestFinished` of its context. The imported function registers
// for the test that started last.
describe.concurrent('a way to connect', () => {
  it.for<[string, () => Env]>([
    ['SCRAM-SHA-256 over TLS', () => ({ ...at('scram'), ...login('scram-sha-256') })],
    ['SCRAM-SHA-512 over TLS', () => ({ ...at('scram'), ...login('scram-sha-512', USER_512) })],
    ['SCRAM-SHA-256 without TLS', () => ({ ...at('scramWithoutTls', true), ...login('scram-sha-256') })],
    ['PLAIN over TLS', () => ({ ...at('plain'), ...plainLogin() })],
    ['a client certificate', () => ({ ...at('mutualTls'), ...certificateOf() })],
    [
      'the tenth authority of a bundle',
      () => ({ ...at('scram'), ...login('scram-sha-512', USER_512), ...bundleWith(brokers.kafka.authority.ca) }),
    ],
  ])(
    'a client with %s stores a record, and a client with the same settings in files reads the record',
    async ([, way], { onTestFinished }) => {
      const env = way()
      const names = freshNames()
      const topic = `${topicPrefix}${names.topicPrefix}raw`
      await administratorOf(all).createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 1 }] })
      await fetchEnds(all, topic)
      const producer = createVerifiedProducer(clientOf(env, onTestFinished).kafka, {
        metadataMaxAgeMs: 1000,
        produceTimeoutMs: 5000,
      })
      onTestFinished(() => producer.disconnect())
      await producer.connect()
      await producer.setPartitions(new Map([[topic, 1]]))
      const send = () =>
        producer
          .send([{ topic, key: null, value: Buffer.from('v'), timestamp: Date.now() }])
          .then(() => 'stored', String)
      await waitUntil('the record is stored', send, (answer) => answer === 'stored')

      const { kafka, admin, diagnose } = clientOf(inFiles(env), onTestFinished)
      await admin.connect()
      const read: string[] = []
      const consumer = createPartitionConsumer(kafka, admin, {
        ...testConsumer,
        groupId: `${topicPrefix}${names.groupId}`,
        topic,
        heartbeatIntervalMs: 1000,
        diagnose,
        onBatch: async ({ records }) => {
          read.push(...records.map(({ value }) => String(value)))
          return undefined
        },
        onDead: (error) => read.push(String(error)),
      })
      onTestFinished(() => consumer.stop())
      await consumer.start()
      await waitUntil(
        'the record is read',
        async () => ({ read, problem: consumer.problem }),
        (seen) => seen.read.includes('v'),
      )
    },
  )
})

describe('a refused connection', () => {
  it.for<[string, () => Env, string, RegExp]>([
    [
      'a wrong password for SCRAM-SHA-256 over TLS',
      () => ({ ...at('scram'), ...login('scram-sha-256', USER, 'wrong') }),
      'authentication',
      /refused the login of user "somebody" \(SCRAM-SHA-256\).*KAFKA_SASL_PASSWORD/,
    ],
    [
      'a wrong password for SCRAM-SHA-512 over TLS',
      () => ({ ...at('scram'), ...login('scram-sha-512', USER_512, 'wrong') }),
      'authentication',
      /refused the login of user "somebody-512" \(SCRAM-SHA-512\).*KAFKA_SASL_PASSWORD/,
    ],
    [
      'a wrong password for PLAIN over TLS',
      () => ({ ...at('plain'), ...plainLogin('wrong') }),
      'authentication',
      /refused the login of user "plain-user" \(PLAIN\).*KAFKA_SASL_PASSWORD/,
    ],
    [
      'a foreign authority for a login over TLS',
      () => ({ ...at('scram'), ...login('scram-sha-256'), KAFKA_SSL_CA: foreign.ca }),
      'tls',
      /an authority that is not trusted here. Check KAFKA_SSL_CA\./,
    ],
    [
      'a bundle of ten foreign authorities',
      () => ({ ...at('scram'), ...login('scram-sha-512', USER_512), ...bundleWith(foreign.ca) }),
      'tls',
      /an authority that is not trusted here. Check KAFKA_SSL_CA\./,
    ],
    [
      'a login without TLS at a port with TLS',
      () => ({ ...at('scram', true), ...login('scram-sha-256') }),
      'tls',
      /If the port speaks TLS, set KAFKA_SSL=true/,
    ],
    [
      'a missing client certificate',
      () => at('mutualTls'),
      'tls',
      /If the broker demands client certificates, check KAFKA_SSL_CERT and KAFKA_SSL_KEY/,
    ],
    [
      'a client certificate of a foreign authority',
      () => ({ ...at('mutualTls'), ...certificateOf(foreign) }),
      'tls',
      /If the broker demands client certificates, check KAFKA_SSL_CERT and KAFKA_SSL_KEY/,
    ],
    [
      'a client certificate that has expired',
      () => ({ ...at('mutualTls'), ...certificateOf(brokers.kafka.authority, new Date(Date.now() - 1000)) }),
      'tls',
      /The broker refused KAFKA_SSL_CERT, which has expired/,
    ],
  ])(
    'the diagnosis of the first connection names the settings to check: %s',
    async ([, env, reason, words], { onTestFinished }) => {
      const { admin, diagnose } = clientOf(env(), onTestFinished)
      const refused = await admin.connect().then(
        () => 'connected',
        (error: unknown) => diagnose(error, 'connect'),
      )
      expect(refused).toMatchObject({ blocked: true, reason, message: expect.stringMatching(words) })
    },
  )
})
