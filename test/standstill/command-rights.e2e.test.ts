import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { waitUntil } from '@customer-stream/runtime'
import { fetchEnds } from '@customer-stream/runtime/kafka'
import { writeErasure } from '@customer-stream/schemas'
import { ledgerEntry, makeCustomersEvent } from '@customer-stream/simulator'
import { grantRights, inspectCommand, kafkajsOf, placeKafkaTools, servicesRoot } from '@customer-stream/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openSharedBrokers, type SharedBrokers } from './shared-brokers.ts'
import { openSite, type Site, withoutLogin } from './site.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Codes in Kafka's protocol for operations, permissions, resources and patterns. */
const OPERATIONS = { READ: 3, WRITE: 4, CREATE: 5, DESCRIBE: 8, DESCRIBE_CONFIGS: 10 } as const
const ALLOW = 3
const TOPIC = 2
const LITERAL = 3
const PREFIXED = 4

type Topic = 'customers' | 'other' | 'quarantine' | 'audit' | 'state' | 'erasures'
type KafkaRight = readonly [operation: keyof typeof OPERATIONS, resource: Topic]

interface Rights {
  readonly command: 'verify' | 'erase' | 'quarantine' | 'status' | 'customer' | 'drift' | 'rebuild' | 'topics'
  readonly kafka: readonly KafkaRight[]
  /** Empty if the command does not use Redis. */
  readonly redis: readonly string[]
}

const KEYS_AND_MARKS = ['~mykaarma:customer:*', '~mykaarma:erased:*', '~mykaarma:positions:*']
const SEARCHED = [
  ['READ', 'customers'],
  ['READ', 'other'],
  ['READ', 'quarantine'],
  ['READ', 'state'],
  ['READ', 'erasures'],
] as const
const QUARANTINE = [
  ['READ', 'quarantine'],
  ['READ', 'audit'],
] as const
const WRITES_AUDIT = [
  ['WRITE', 'audit'],
  ['DESCRIBE_CONFIGS', 'audit'],
] as const
/** Lines in which a command reports its progress. */
const PROGRESS = /^(verify|erase): (reading|read|waiting|comparing|searching|the erasure is|Redis has no customer)\b/
/** Line of a report that says what is wrong. */
const REASON = /^(?: {2}✘ | {4}problem: )/
/** The rights of the section "Least rights" in docs/operating.md. */
const RIGHTS = {
  'verify --ledger': {
    command: 'verify',
    kafka: [
      ['READ', 'customers'],
      ['READ', 'quarantine'],
      ['READ', 'erasures'],
      ['READ', 'other'],
    ],
    redis: [...KEYS_AND_MARKS, '+ping', '+info', '+hgetall', '+hmget'],
  },
  'verify --state': {
    command: 'verify',
    kafka: [
      ['READ', 'customers'],
      ['READ', 'quarantine'],
      ['READ', 'erasures'],
      ['READ', 'state'],
    ],
    redis: [...KEYS_AND_MARKS, '+ping', '+info', '+hgetall', '+hmget', '+scan'],
  },
  erase: {
    command: 'erase',
    kafka: [...SEARCHED, ['WRITE', 'erasures']],
    redis: [...KEYS_AND_MARKS, '+ping', '+info', '+hgetall'],
  },
  'erase --status': {
    command: 'erase',
    kafka: SEARCHED,
    redis: [...KEYS_AND_MARKS, '+ping', '+info', '+hgetall'],
  },
  status: {
    command: 'status',
    kafka: [
      ['READ', 'customers'],
      ['READ', 'quarantine'],
      ['READ', 'erasures'],
      ['DESCRIBE', 'state'],
    ],
    redis: ['~mykaarma:positions:*', '+ping', '+info', '+hgetall'],
  },
  'customer show': {
    command: 'customer',
    kafka: [
      ['READ', 'customers'],
      ['READ', 'state'],
    ],
    redis: [...KEYS_AND_MARKS, '+ping', '+info', '+hgetall'],
  },
  'customer history': {
    command: 'customer',
    kafka: [
      ['READ', 'customers'],
      ['READ', 'quarantine'],
    ],
    redis: [...KEYS_AND_MARKS, '+ping', '+info', '+hgetall'],
  },
  drift: {
    command: 'drift',
    kafka: [],
    redis: ['~mykaarma:drift', '~mykaarma:positions:*', '+ping', '+info', '+hgetall'],
  },
  rebuild: {
    command: 'rebuild',
    kafka: [['DESCRIBE', 'customers']],
    redis: ['~mykaarma:positions:*', '+ping', '+info', '+hgetall'],
  },
  'topics check': {
    command: 'topics',
    kafka: (['customers', 'other', 'quarantine', 'audit', 'state', 'erasures'] as const).flatMap((topic) => [
      ['DESCRIBE', topic] as const,
      ['DESCRIBE_CONFIGS', topic] as const,
    ]),
    redis: [],
  },
  'quarantine list': { command: 'quarantine', kafka: QUARANTINE, redis: [] },
  'quarantine show': { command: 'quarantine', kafka: QUARANTINE, redis: [] },
  'quarantine redrive': { command: 'quarantine', kafka: [...QUARANTINE, ['READ', 'erasures']], redis: [] },
  'quarantine redrive --execute': {
    command: 'quarantine',
    kafka: [...QUARANTINE, ...WRITES_AUDIT, ['READ', 'erasures'], ['WRITE', 'customers'], ['WRITE', 'other']],
    redis: [],
  },
  'quarantine drop': { command: 'quarantine', kafka: QUARANTINE, redis: [] },
  'quarantine drop --execute': { command: 'quarantine', kafka: [...QUARANTINE, ...WRITES_AUDIT], redis: [] },
} as const satisfies Record<string, Rights>
type Use = keyof typeof RIGHTS

/** Names of the topics in docs/operating.md. */
const names = {
  customers: 'customers.raw',
  other: 'other.raw',
  quarantine: 'quarantine',
  audit: 'quarantine.audit',
  state: 'customers.state',
  erasures: 'customers.erasures',
}

let shared: SharedBrokers
let site: Site
const topicOf = (topic: Topic): string => (topic === 'audit' ? `${site.topics.quarantine}.audit` : site.topics[topic])
let args: Readonly<Record<Use, readonly string[]>>
beforeAll(async () => {
  shared = await openSharedBrokers()
  site = await openSite(shared)
  await Promise.all([site.ingress.start(), site.projector.start()])
  const { event } = await waitUntil(
    'an event is accepted',
    () => site.post(),
    ({ status }) => status === 202,
  )
  expect(await site.postBody(makeCustomersEvent({ timestamp: Date.now() + 3 * 86_400_000 }).body)).toBe(202)
  expect(await site.postBody('{"uuid":"o1","dealeruuid":"d1","timestamp":1,"type":"other","data":{}}')).toBe(202)
  await site.untilApplied()
  const producer = kafkajsOf(site.kafka).producer()
  await producer.connect()
  const value = writeErasure({ erasedAt: 1, scope: 'forever', reason: 'test', requestedBy: 'test' })
  await producer.send({ topic: site.topics.erasures, messages: [{ key: 'nobody', value }] })
  await producer.disconnect()
  await waitUntil(
    'each topic has a record',
    async () => Promise.all(Object.values(site.topics).map((topic) => fetchEnds(shared.admin, topic))),
    (all) => all.every((ends) => ends.some(({ low, high }) => low !== high)),
  )
  await waitUntil(
    'the erasure is executed',
    () => shared.redis.exists(`${site.keyPrefix}erased:{nobody}`),
    (count) => count === 1,
  )
  await shared.administrator.createTopics({
    waitForLeaders: false,
    topics: [
      {
        topic: topicOf('audit'),
        numPartitions: 1,
        replicationFactor: 1,
        configEntries: [{ name: 'retention.ms', value: '-1' }],
      },
    ],
  })
  await fetchEnds(shared.admin, topicOf('audit'))
  const filled = (await fetchEnds(shared.admin, site.topics.quarantine)).find(({ low, high }) => low !== high)
  const { id, timestamp, customerUuid, body } = event
  const ledger = join(site.folder, 'ledger.jsonl')
  const promise = ledgerEntry({ id, timestamp, type: 'customers', customerUuid }, body)
  writeFileSync(ledger, `${JSON.stringify(promise)}\n`)
  args = {
    'verify --ledger': ['--ledger', ledger],
    'verify --state': ['--state'],
    erase: ['erased-customer', '--reason', 'test', '--requested-by', 'test'],
    'erase --status': ['nobody', '--status'],
    status: [],
    'customer show': ['show', customerUuid],
    'customer history': ['history', customerUuid],
    drift: [],
    rebuild: [],
    'topics check': ['check'],
    'quarantine list': ['list'],
    'quarantine show': ['show', `${filled?.partition}/${filled?.low}`],
    'quarantine redrive': ['redrive', '--reason', 'unreadable-batch'],
    'quarantine redrive --execute': ['redrive', '--reason', 'unreadable-batch', ...EXECUTE],
    'quarantine drop': ['drop', '--reason', 'unreadable-batch'],
    'quarantine drop --execute': ['drop', '--reason', 'unreadable-batch', '--note', 'test', ...EXECUTE],
  }
})
afterAll(async () => {
  await site?.close()
  await shared?.close()
})

const REPAIR = ['--repair', '--execute']
const EXECUTE = ['--execute', '--requested-by', 'test']
let users = 0

/** Runs a command with the settings of the projector. */
const execute = (words: readonly string[], env: Readonly<Record<string, string>>) =>
  new Promise<{ code: number | null; said: string; stdout: string }>((resolve) => {
    const child = execFile(
      process.execPath,
      ['--conditions=customer-stream-source', `${servicesRoot}/packages/cli/start.js`, ...words],
      { cwd: servicesRoot, env: { ...process.env, ...site.envOf('projector'), ...env }, timeout: 25_000 },
      (_, stdout, stderr) => {
        inspectCommand(words, stdout + stderr, { ...site.envOf('projector'), ...env })
        // These commands print a report, even if a right is missing.
        const isReport = words[0] === 'status' || words[0] === 'topics'
        const reasons = isReport ? stdout.split('\n').filter((line) => REASON.test(line)) : []
        const lines = stderr.split('\n').filter((line) => line !== '' && !PROGRESS.test(line))
        const said = [...lines, ...reasons]
        resolve({ code: child.exitCode, said: said.length > 0 ? said.join('\n') : stdout, stdout })
      },
    )
  })

/**
 * Runs a command as a new user with these rights. A command that retries instead of reporting the
 * missing right takes 30 s, so the time limit is shorter.
 */
const run = async (
  use: Use,
  rights: Omit<Rights, 'command'>,
  env: Readonly<Record<string, string>> = {},
  options: readonly string[] = [],
) => {
  const user = `command-${users++}`
  const { command } = RIGHTS[use]
  await shared.brokers.kafka.setPassword(user, site.password)
  if (rights.kafka.length > 0)
    await grantRights(
      shared.administrator,
      rights.kafka.map(([operation, resource]) => ({
        resourceType: TOPIC,
        resourceName: topicOf(resource),
        resourcePatternType: LITERAL,
        principal: `User:${user}`,
        host: '*',
        operation: OPERATIONS[operation],
        permissionType: ALLOW,
      })),
    )
  const rules = rights.redis.map((rule) => rule.replace('mykaarma:', site.keyPrefix))
  await shared.redis.call('ACL', 'SETUSER', user, 'reset', 'on', `>${site.password}`, ...rules)
  const url = new URL(shared.brokers.redisUrl)
  url.username = user
  url.password = site.password
  const { code, said } = await execute([command, ...args[use], ...options], {
    REDIS_URL: url.href,
    KAFKA_SASL_USERNAME: user,
    ...env,
  })
  return { code, said }
}

const uses = Object.keys(RIGHTS) as Use[]
const usesOfRedis = uses.filter((use) => RIGHTS[use].redis.length > 0)
const readsCustomers = (use: Use) =>
  (RIGHTS[use] as Rights).kafka.some(([operation, topic]) => topic === 'customers' && operation !== 'WRITE')
const missing = uses.flatMap((use) => {
  const { kafka, redis }: Rights = RIGHTS[use]
  const kafkaCases = kafka.map(
    (right) => [use, right.join(' on '), { kafka: kafka.filter((other) => other !== right), redis }] as const,
  )
  const redisCases = redis
    .filter((rule) => rule !== '+info')
    .map((rule) => [use, rule, { kafka, redis: redis.filter((other) => other !== rule) }] as const)
  return [...kafkaCases, ...redisCases]
})
/** Returns a pattern of the words that a command prints if this right is missing. */
const wordsOf = (right: string): RegExp => {
  const [operation, resource = ''] = right.split(' on ')
  const key = right.replace('~mykaarma:', site.keyPrefix).replace('*', '')
  if (right.startsWith('~')) return new RegExp(`call (?:HGETALL|HMGET) on ${key}`)
  if (right.startsWith('+')) return new RegExp(`call ${right.slice(1).toUpperCase()}\\b`)
  return new RegExp(`topic ${topicOf(resource as Topic)} .*Grant ${operation} on the topic`)
}

describe.concurrent('the rights of a command', { timeout: 60_000 }, () => {
  it.each(uses)('the command %s works with the documented rights', async (use) => {
    expect(await run(use, RIGHTS[use])).toMatchObject({ code: 0 })
  })

  it.each(missing)(
    'the command %s ends immediately without %s, and its error names this right in one line',
    async (use, right, rights) => {
      const { code, said } = await run(use, rights)
      expect(said).toMatch(wordsOf(right))
      expect([code, said.split('\n').length]).toEqual([1, 1])
    },
  )

  it.each(uses.filter(readsCustomers))(
    'the command %s reports a user that may see but not read the customers topic',
    async (use) => {
      const { kafka, redis }: Rights = RIGHTS[use]
      const described = kafka.map(
        ([operation, resource]): KafkaRight =>
          resource === 'customers' && operation === 'READ' ? ['DESCRIBE', resource] : [operation, resource],
      )
      const { code, said } = await run(use, { kafka: described, redis })
      const needsToRead = kafka.some(([operation, resource]) => operation === 'READ' && resource === 'customers')
      if (!needsToRead) expect(code).toBe(0)
      else expect({ code, said }).toEqual({ code: 1, said: expect.stringMatching(wordsOf('READ on customers')) })
    },
  )

  it.each(uses)('docs/operating.md lists the Kafka and Redis rights of %s', (use) => {
    const { kafka, redis }: Rights = RIGHTS[use]
    const docs = readFileSync(join(root, 'docs', 'operating.md'), 'utf8')
    const row = docs.split('\n').find((line) => line.startsWith(`| \`${use}\` |`)) ?? ''
    expect(row).toContain(redis.join(' '))
    for (const [operation, resource] of kafka) {
      const name = names[resource]
      expect(row).toMatch(new RegExp(`\`${name}\`[^;|]*: [A-Z, ]*\\b${operation}\\b`))
    }
  })
})

describe.concurrent('a wrong setting', { timeout: 60_000 }, () => {
  const noLogin = () => withoutLogin(shared.brokers.kafka.admin)

  const usesOfKafka = uses.filter((use) => RIGHTS[use].kafka.length > 0)
  // A missing topic is a usual result of topics check.
  const needTopics = usesOfKafka.filter((use) => RIGHTS[use].command !== 'topics')
  it.each(needTopics)('the error of the command %s names a missing topic and KAFKA_TOPIC_PREFIX', async (use) => {
    const { code, said } = await run(use, RIGHTS[use], { ...noLogin(), KAFKA_TOPIC_PREFIX: 'nowhere.' })
    expect({ code, said }).toEqual({
      code: 1,
      said: expect.stringMatching(
        /no topic nowhere\.\w+\.?\w*\. (?:Give this command|If the topic was).*\bKAFKA_TOPIC_PREFIX\b/,
      ),
    })
  })

  it.each(usesOfRedis)('the error of the command %s names a missing key and REDIS_KEY_PREFIX', async (use) => {
    const redis = [...RIGHTS[use].redis, '~*']
    const { code, said } = await run(use, { ...RIGHTS[use], redis }, { REDIS_KEY_PREFIX: 'nowhere:' })
    expect({ code, said }).toEqual({
      code: 1,
      said: expect.stringMatching(/no key nowhere:positions:v1\b.*Check REDIS_KEY_PREFIX/),
    })
  })

  it.each(usesOfKafka)(
    'the error of the command %s names KAFKA_TOPIC_PREFIX even if its user may not see the topic',
    async (use) => {
      const { code, said } = await run(use, RIGHTS[use], { KAFKA_TOPIC_PREFIX: 'nowhere.' })
      expect({ code, said }).toEqual({
        code: 1,
        said: expect.stringMatching(/topic nowhere\..*check KAFKA_TOPIC_PREFIX/),
      })
    },
  )

  it.each(uses)('the error of the command %s names the server that refuses the login', async (use) => {
    const kafka = await run(use, RIGHTS[use], { KAFKA_SASL_PASSWORD: 'wrong' })
    expect(kafka).toEqual({ code: 1, said: expect.stringMatching(/Kafka .* refused the login .*KAFKA_SASL_PASSWORD/) })
    if (!usesOfRedis.includes(use)) return
    const url = new URL(shared.brokers.redisUrl)
    url.username = 'nobody'
    url.password = 'wrong'
    const redis = await run(use, RIGHTS[use], { REDIS_URL: url.href })
    expect(redis).toEqual({ code: 1, said: expect.stringMatching(/Redis .* refuses the login .*REDIS_URL/) })
  })
})

it('verify --repair --execute fails if any one of its rights on Redis is missing, and repairs with all rights', {
  timeout: 120_000,
}, async () => {
  const rights = ['+eval', '+evalsha', '+hlen', '+hget', '+hset', '+hdel']
  const { kafka, redis }: Rights = RIGHTS['verify --ledger']
  const docs = readFileSync(join(root, 'docs', 'operating.md'), 'utf8')
  const row = docs.split('\n').find((line) => line.startsWith('| `verify --repair --execute` |'))
  expect(row).toContain(`\`${rights.join(' ')}\``)
  const [key = ''] = await shared.redis.keys(`${site.keyPrefix}customer:*`)
  await shared.redis.hset(key, 'firstName', 'Mallory')
  // ioredis sends EVAL for the first call of a script, and EVALSHA for later calls.
  for (const right of rights.filter((each) => each !== '+evalsha')) {
    const others = rights.filter((other) => other !== right)
    const { code, said } = await run('verify --ledger', { kafka, redis: [...redis, ...others] }, {}, REPAIR)
    // Redis before 7 does not name the command that a script may not call.
    expect([code, said]).toEqual([
      1,
      expect.stringMatching(/does not allow its user to call .* docs\/operating.md names/),
    ])
  }
  const { code } = await run('verify --ledger', { kafka, redis: [...redis, ...rights] }, {}, REPAIR)
  expect(code).toBe(0)
  expect(await shared.redis.hget(key, 'firstName')).not.toBe('Mallory')
})

it('verify also needs DESCRIBE_CONFIGS on quarantine if records were deleted there', { timeout: 60_000 }, async () => {
  const { kafka, redis }: Rights = RIGHTS['verify --ledger']
  const ends = await fetchEnds(shared.admin, site.topics.quarantine)
  const partitions = ends.map(({ partition, high }) => ({ partition, offset: high }))
  await shared.administrator.deleteTopicRecords({ topic: site.topics.quarantine, partitions })
  expect(await run('verify --ledger', { kafka, redis })).toEqual({
    code: 1,
    said: expect.stringMatching(wordsOf('DESCRIBE_CONFIGS on quarantine')),
  })
  const { said } = await run('verify --ledger', { kafka: [...kafka, ['DESCRIBE_CONFIGS', 'quarantine']], redis })
  expect(said).toContain('not in quarantine: record')
})

it('the commands that topics create prints work with a login, and topics check accepts the topics', {
  timeout: 120_000,
}, async () => {
  const user = `command-${users++}`
  const prefix = `${user}.`
  await shared.brokers.kafka.setPassword(user, site.password)
  await grantRights(
    shared.administrator,
    [OPERATIONS.CREATE, OPERATIONS.DESCRIBE, OPERATIONS.DESCRIBE_CONFIGS].map((operation) => ({
      resourceType: TOPIC,
      resourceName: prefix,
      resourcePatternType: PREFIXED,
      principal: `User:${user}`,
      host: '*',
      operation,
      permissionType: ALLOW,
    })),
  )
  const env = { KAFKA_SASL_USERNAME: user, KAFKA_TOPIC_PREFIX: prefix }
  const printed = await execute(['topics', 'create', '--print'], env)
  expect(printed).toMatchObject({ code: 1, stdout: expect.not.stringContaining(site.password) })

  const tools = await placeKafkaTools()
  try {
    const login = `username="${user}" password="${site.password}"`
    const properties = [
      'security.protocol=SASL_SSL',
      'ssl.truststore.type=PEM',
      'ssl.truststore.location=ca.pem',
      'sasl.mechanism=SCRAM-SHA-256',
      `sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required ${login};`,
    ]
    writeFileSync(join(tools.folder, 'ca.pem'), shared.brokers.kafka.authority.ca)
    writeFileSync(join(tools.folder, 'client.properties'), properties.join('\n'))
    writeFileSync(join(tools.folder, 'commands.sh'), printed.stdout)
    const options = { cwd: tools.folder, env: { ...process.env, PATH: `${tools.folder}:${process.env.PATH}` } }
    await promisify(execFile)('sh', ['-e', 'commands.sh'], options)
  } finally {
    await tools.remove()
  }
  expect(await execute(['topics', 'check'], env)).toMatchObject({ code: 0 })
})
