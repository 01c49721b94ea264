/** A reader with the rights of the section "Least rights" in docs/operating.md, and no other. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { apiKeys, grantRights, READER_KEY, type ServiceProcess, startService } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { openSharedBrokers, type SharedBrokers } from './shared-brokers.ts'
import { openSite, type Site } from './site.ts'

const DOCUMENT = readFileSync(new URL('../../docs/operating.md', import.meta.url), 'utf8')
/** The topics that the reader may read, by their names without the prefix. */
const TOPICS = /^\| reader \| topics ([^:]+): READ \|$/m.exec(DOCUMENT)?.[1]?.match(/[\w.]+/g) ?? []
const REDIS_RIGHTS = /ACL SETUSER reader on >password ([^`]+)/.exec(DOCUMENT)?.[1]?.trim().split(/\s+/) ?? []

/** Codes in Kafka's protocol for operations, permissions, resources and patterns. */
const [READ, ALLOW, TOPIC, LITERAL] = [3, 3, 2, 3]
const OPERATIONS: Readonly<Record<string, number>> = { READ, WRITE: 4, DESCRIBE_CONFIGS: 10 }
/** The rights that a redrive also needs, each as a topic and an operation. */
const REDRIVE_RIGHTS = [
  ...(/^\| reader, for redrives \| (.+) \|$/m.exec(DOCUMENT)?.[1] ?? '').matchAll(/topics? ([^:]+): ([A-Z_, ]+)/g),
].flatMap(([, topics = '', operations = '']) =>
  (topics.match(/[\w.]+/g) ?? []).flatMap((topic) =>
    (operations.match(/[A-Z_]+/g) ?? []).map((operation) => ({ topic, operation })),
  ),
)

let shared: SharedBrokers
let site: Site
let user: string
let customerUuid: string
beforeAll(async () => {
  shared = await openSharedBrokers()
  site = await openSite(shared)
  user = `${site.keyPrefix.slice(0, -1)}-reader`
  await Promise.all([site.ingress.start(), site.projector.start()])
  const { event } = await waitUntil(
    'an event is accepted',
    () => site.post(),
    ({ status }) => status === 202,
  )
  customerUuid = event.customerUuid
  await site.untilApplied()
  await shared.brokers.kafka.setPassword(user, site.password)
  const rights = REDIS_RIGHTS.map((each) => each.replace('mykaarma:', site.keyPrefix))
  await shared.redis.call('ACL', 'SETUSER', user, 'reset', 'on', `>${site.password}`, ...rights)
})
afterAll(async () => {
  await site?.close()
  await shared?.close()
})

const right = (topic: string, operation = READ) => ({
  resourceType: TOPIC,
  resourceName: site.topics.customers.replace('customers.raw', topic),
  resourcePatternType: LITERAL,
  principal: `User:${user}`,
  host: '*',
  operation,
  permissionType: ALLOW,
})

const startReader = async (name: string, topics: readonly string[], settings = {}): Promise<ServiceProcess> => {
  const rights = topics.map((topic) => right(topic))
  await grantRights(shared.administrator, rights)
  const redisUrl = new URL(shared.brokers.redisUrl)
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
    await shared.administrator.deleteAcls({ filters: rights })
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
    events: await statusOf(`/v1/customers/${customerUuid}/events`),
    pipeline: await statusOf('/v1/pipeline'),
    quarantine: await statusOf('/v1/quarantine'),
  }
}

const ALL_WELL = {
  customer: 200,
  missing: 404,
  search: 200,
  customersOfDealer: 200,
  dealers: 200,
  changes: 200,
  events: 200,
  pipeline: 200,
  quarantine: 200,
}

const readinessOf = ({ adminUrl }: ServiceProcess) => fetch(`${adminUrl}/readyz`).then((answer) => answer.text())

const reasonsOf = async ({ url }: ServiceProcess): Promise<readonly string[]> => {
  const answer = await fetch(`${url}/v1/pipeline`, { headers: { authorization: `Bearer ${READER_KEY}` } })
  return ((await answer.json()) as { reasons: string[] }).reasons
}

interface QuarantineAnswer {
  readonly records?: readonly { readonly id: string }[]
  readonly outcome?: string
  readonly type?: string
  readonly detail?: string
}
const askQuarantine = async ({ url }: ServiceProcess, path = '', method = 'GET'): Promise<QuarantineAnswer> => {
  const headers = { authorization: `Bearer ${READER_KEY}` }
  return (await fetch(`${url}/v1/quarantine${path}`, { method, headers })).json() as Promise<QuarantineAnswer>
}

it('a reader with only the rights of docs/operating.md gives all answers', { timeout: 60_000 }, async () => {
  expect([TOPICS.length > 0, REDIS_RIGHTS.length > 8]).toEqual([true, true])
  const reader = await startReader('all-rights', TOPICS)
  await reader.untilReady()
  await waitUntil(
    'the reader gives all answers',
    () => statuses(reader),
    (found) => JSON.stringify(found) === JSON.stringify(ALL_WELL),
  )
  expect(await reasonsOf(reader)).toEqual([])
})

it('a reader that may not read the state topic names the missing right, and answers requests that need only Redis', {
  timeout: 60_000,
}, async () => {
  const reader = await startReader(
    'no-state',
    TOPICS.filter((topic) => topic !== 'customers.state'),
  )
  await reader.untilReady()
  const named = /read topic \S+customers\.state .*Grant READ on the topic/
  await waitUntil(
    'the readiness names the right',
    () => readinessOf(reader),
    (text) => named.test(text),
  )
  expect(await statuses(reader)).toEqual({ ...ALL_WELL, changes: 503 })
  expect(await reader.metric('reader_kafka_available')).toBe(0)
})

it.each([
  ['customers.raw', { events: 503 }],
  ['quarantine', { quarantine: 503 }],
  ['quarantine.audit', { quarantine: 503 }],
])(
  'a reader that may not read the topic %s names the missing right, and needs no restart when it gets the right',
  {
    timeout: 60_000,
  },
  async (topic, failing) => {
    const reader = await startReader(
      `no-${topic}`,
      TOPICS.filter((each) => each !== topic),
    )
    await reader.untilReady()
    await waitUntil(
      'the reader has read the state topic and measured the pipeline',
      () => statuses(reader),
      ({ changes, pipeline }) => changes === 200 && pipeline === 200,
    )
    expect(await statuses(reader)).toEqual({ ...ALL_WELL, ...failing })
    const { resourceName } = right(topic)
    const named = new RegExp(`read topic ${resourceName} .*Grant READ on the topic`)
    expect(await reasonsOf(reader)).toEqual([expect.stringMatching(named)])
    if ('quarantine' in failing)
      expect(await askQuarantine(reader)).toMatchObject({ type: 'unavailable', detail: expect.stringMatching(named) })
    await grantRights(shared.administrator, [right(topic)])
    onTestFinished(() => shared.administrator.deleteAcls({ filters: [right(topic)] }).then(() => undefined))
    await waitUntil(
      'the pipeline is well',
      () => reasonsOf(reader),
      (reasons) => reasons.length === 0,
    )
    expect(await statuses(reader)).toEqual(ALL_WELL)
  },
)

it('a reader that lacks any one right on Redis reports the missing right, and never answers 500', {
  timeout: 60_000,
}, async () => {
  const reader = await startReader('redis', TOPICS)
  await reader.untilReady()
  const change = (...rules: readonly string[]) => shared.redis.call('ACL', 'SETUSER', user, ...rules)
  const rights = REDIS_RIGHTS.map((each) => each.replace('mykaarma:', site.keyPrefix))
  const keys = rights.filter((each) => each.startsWith('~'))
  // The reader works without the rights to PING and INFO. Without INFO, ioredis only prints a
  // warning.
  const commands = rights.filter((each) => each.startsWith('+') && each !== '+ping' && each !== '+info')
  expect([keys.length, commands.length]).toEqual([6, 7])
  const losses = [
    ...keys.map((key) => [key, ['resetkeys', ...keys.filter((each) => each !== key)]] as const),
    ...commands.map((command) => [command, [command.replace('+', '-')]] as const),
  ]
  for (const [lost, rules] of losses) {
    await change(...rules)
    expect(await readinessOf(reader), lost).toMatch(/does not allow its user a command or a key .*operating\.md/)
    expect([200, 404, 503], lost).toEqual(expect.arrayContaining(Object.values(await statuses(reader))))
    await change(...keys, ...commands)
    await reader.untilReady()
  }
})

it('a redrive that lacks a right names the right, and works with the rights of docs/operating.md', {
  timeout: 60_000,
}, async () => {
  expect(REDRIVE_RIGHTS.length).toBe(4)
  const auditTopic = right('quarantine.audit').resourceName
  const configEntries = [{ name: 'retention.ms', value: '-1' }]
  const topics = [{ topic: auditTopic, numPartitions: 1, replicationFactor: 1, configEntries }]
  await shared.administrator.createTopics({ waitForLeaders: false, topics })
  const reader = await startReader('redrive', TOPICS, { MAX_FUTURE_MS: '1000000000000' })
  await reader.untilReady()
  // The projector quarantines this event, but the reader accepts it, because its limit for future
  // timestamps is higher.
  await site.postBody(makeCustomersEvent({ timestamp: Date.now() + 48 * 3600 * 1000 }).body)
  const { records } = await waitUntil(
    'the record is in quarantine',
    () => askQuarantine(reader, '?reason=too-far-in-future'),
    (found) => found.records?.length === 1,
  )
  const redrive = `/${records?.[0]?.id}/redrive`
  expect(await askQuarantine(reader, `${redrive}?dry-run=1`, 'POST')).toMatchObject({ outcome: 'would-redrive' })
  const lacking = REDRIVE_RIGHTS.map(({ topic, operation }) => right(topic, OPERATIONS[operation]))
  onTestFinished(() => shared.administrator.deleteAcls({ filters: lacking }).then(() => undefined))
  await waitUntil(
    'a missing right is named',
    () => askQuarantine(reader, redrive, 'POST'),
    ({ type, detail }) => type === 'redrive-unavailable' && /Grant [A-Z_]+ on the topic/.test(detail ?? ''),
  )
  expect(await statuses(reader)).toEqual(ALL_WELL)
  await grantRights(
    shared.administrator,
    lacking.filter(({ resourceName }) => resourceName === auditTopic),
  )
  await waitUntil(
    'the right to write to the raw topic is named',
    () => askQuarantine(reader, redrive, 'POST'),
    ({ detail }) => /customers\.raw .*Grant WRITE on the topic/.test(detail ?? ''),
  )
  await grantRights(shared.administrator, lacking)
  await waitUntil(
    'the record is redriven',
    () => askQuarantine(reader, redrive, 'POST'),
    ({ outcome }) => outcome === 'redriven',
  )
})
