/** A reader with the rights of the section "Least rights" in docs/operating.md, and no other. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { quarantineAuditDemand } from '@customer-stream/configuration'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { apiKeys, READER_KEY, type ServiceProcess, startService } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { openSite, openWorld, type Site, type World } from './site.ts'

const DOCUMENT = readFileSync(new URL('../../docs/operating.md', import.meta.url), 'utf8')
/** The topics that the reader may read, by their names without the prefix. */
const TOPICS = /^\| reader \| topics ([^:]+): READ \|$/m.exec(DOCUMENT)?.[1]?.match(/[\w.]+/g) ?? []
const REDIS_RIGHTS = /ACL SETUSER reader on >password ([^`]+)/.exec(DOCUMENT)?.[1]?.trim().split(/\s+/) ?? []

/** Numbers of Kafka's protocol. */
const [READ, WRITE, DESCRIBE_CONFIGS, ALLOW, TOPIC, LITERAL] = [3, 4, 10, 3, 2, 3]

let world: World
let site: Site
let user: string
let customerUuid: string
beforeAll(async () => {
  world = await openWorld()
  site = await openSite(world)
  user = `${site.keyPrefix.slice(0, -1)}-reader`
  await Promise.all([site.ingress.start(), site.projector.start()])
  const { event } = await waitUntil(
    'an event is accepted',
    () => site.post(),
    ({ status }) => status === 202,
  )
  customerUuid = event.customerUuid
  await site.untilApplied()
  await world.brokers.kafka.setPassword(user, site.password)
  const rights = REDIS_RIGHTS.map((each) => each.replace('mykaarma:', site.keyPrefix))
  await world.redis.call('ACL', 'SETUSER', user, 'reset', 'on', `>${site.password}`, ...rights)
})
afterAll(async () => {
  await site?.close()
  await world?.close()
})

const right = (topic: string, operation = READ) => ({
  ...{ resourceType: TOPIC, resourceName: site.topics.customers.replace('customers.raw', topic) },
  ...{ resourcePatternType: LITERAL, principal: `User:${user}`, host: '*' },
  ...{ operation, permissionType: ALLOW },
})

const startReader = async (name: string, topics: readonly string[], settings = {}): Promise<ServiceProcess> => {
  await world.administrator.createAcls({ acl: topics.map((topic) => right(topic)) })
  const redisUrl = new URL(world.brokers.redisUrl)
  redisUrl.username = user
  redisUrl.password = site.password
  const env = {
    ...site.envOf('projector'),
    KAFKA_SASL_USERNAME: user,
    REDIS_URL: redisUrl.href,
    READER_API_KEYS: apiKeys([{ name: 'full', scopes: ['read', 'pii', 'operate'], dealers: ['*'] }]),
    ...settings,
  }
  const reader = await startService('reader', env, join(site.folder, `${name}.log`))
  onTestFinished(async () => {
    await reader.end()
    await world.administrator.deleteAcls({ filters: topics.map((topic) => right(topic)) })
  })
  return reader
}

/** Returns the status of the answer to each kind of request. */
const statuses = async ({ url }: ServiceProcess) => {
  const headers = { authorization: `Bearer ${READER_KEY}`, 'content-type': 'application/json' }
  const statusOf = async (path: string, options: RequestInit = {}) => {
    const answer = await fetch(url + path, { headers, ...options })
    await answer.body?.cancel()
    return answer.status
  }
  return {
    customer: await statusOf(`/v1/customers/${customerUuid}`),
    missing: await statusOf('/v1/customers/nobody'),
    search: await statusOf('/v1/customers/search', { method: 'POST', body: '{"phone": "+14155550123"}' }),
    customersOfDealer: await statusOf('/v1/dealers/nobody/customers'),
    dealers: await statusOf('/v1/dealers'),
    changes: await statusOf('/v1/changes'),
  }
}

const ALL_WELL = { customer: 200, missing: 404, search: 200, customersOfDealer: 200, dealers: 200, changes: 200 }

it('a reader with only the rights of docs/operating.md gives all answers', { timeout: 60_000 }, async () => {
  expect([TOPICS.length > 0, REDIS_RIGHTS.length > 8]).toEqual([true, true])
  const reader = await startReader('all-rights', TOPICS)
  await reader.untilReady()
  await waitUntil(
    'the reader gives all answers',
    () => statuses(reader),
    (found) => JSON.stringify(found) === JSON.stringify(ALL_WELL),
  )
})

it('a reader that may not read the state topic names the right, and answers what needs only Redis', {
  timeout: 60_000,
}, async () => {
  const reader = await startReader(
    'no-state',
    TOPICS.filter((topic) => topic !== 'customers.state'),
  )
  await reader.untilReady()
  const readiness = () => fetch(`${reader.adminUrl}/readyz`).then((answer) => answer.text())
  const named = /read topic \S+customers\.state .*Grant READ on the topic/
  await waitUntil('the readiness names the right', readiness, (text) => named.test(text))
  expect(await statuses(reader)).toEqual({ ...ALL_WELL, changes: 503 })
  expect(await reader.metric('reader_kafka_available')).toBe(0)
})

it('a redrive without the right to write names the right, and with it the record is redriven', {
  timeout: 60_000,
}, async () => {
  const row = /^\| reader, for redrives \| (.+) \|$/m.exec(DOCUMENT)?.[1]
  expect(row).toBe('also topics `customers.raw`, `other.raw`: WRITE; topic `quarantine.audit`: WRITE, DESCRIBE_CONFIGS')
  const reader = await startReader('redrive', TOPICS, { MAX_FUTURE_MS: '1000000000000' })
  const { topic: auditTopic } = quarantineAuditDemand(site.topics.customers.replace('customers.raw', ''))
  await world.administrator.createTopics({
    waitForLeaders: false,
    topics: [
      {
        ...{ topic: auditTopic, numPartitions: 1, replicationFactor: 1 },
        configEntries: [{ name: 'retention.ms', value: '-1' }],
      },
    ],
  })
  const { body } = makeCustomersEvent({ timestamp: Date.now() + 48 * 3600 * 1000 })
  expect(await site.postBody(body.toString())).toBe(202)
  await reader.untilReady()
  const headers = { authorization: `Bearer ${READER_KEY}` }
  const ask = async (path: string, method = 'GET') =>
    JSON.parse(await (await fetch(`${reader.url}/v1/quarantine${path}`, { method, headers })).text())
  const { records } = await waitUntil(
    'the record is in quarantine',
    () => ask('?reason=too-far-in-future'),
    (found) => found.records?.length === 1,
  )
  const redrive = `/${records[0].id}/redrive`
  expect(await ask(`${redrive}?dry-run=1`, 'POST')).toMatchObject({ outcome: 'would-redrive' })
  // The settings of the audit topic are checked first.
  expect(await ask(redrive, 'POST')).toMatchObject({ detail: expect.stringContaining('Grant DESCRIBE_CONFIGS') })
  await world.administrator.createAcls({ acl: [right('quarantine.audit', DESCRIBE_CONFIGS)] })
  const denied = await waitUntil(
    'the check of the settings passes',
    () => ask(redrive, 'POST'),
    ({ detail }) => !detail?.includes('DESCRIBE_CONFIGS'),
  )
  expect(denied).toMatchObject({ type: 'redrive-unavailable', detail: expect.stringMatching(/customers\.raw.*WRITE/) })
  await world.administrator.createAcls({
    acl: [...['customers.raw', 'other.raw', 'quarantine.audit'].map((topic) => right(topic, WRITE))],
  })
  await waitUntil(
    'the record is redriven',
    () => ask(redrive, 'POST'),
    ({ outcome }) => outcome === 'redriven',
  )
})
