import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { allDemands, projectorSettings } from '@customer-stream/configuration'
import { loadSettings, waitUntil } from '@customer-stream/runtime'
import { createAdmin, fetchEnds, type TopicAdmin } from '@customer-stream/runtime/kafka'
import {
  administratorOf,
  freshNames,
  inspectCommand,
  type KafkaTools,
  placeKafkaTools,
  startService,
} from '@customer-stream/testing'
import { testKafka } from '@customer-stream/testing/vitest'
import { afterAll, beforeAll, beforeEach, expect, inject, it } from 'vitest'
import { type Ended, runCommandLine } from '../fixtures/run-command-line.ts'

const TOPIC = 2

let tools: KafkaTools
let admin: TopicAdmin
let env: Record<string, string>
let topics: readonly string[]
beforeAll(async () => {
  tools = await placeKafkaTools()
  admin = createAdmin(testKafka(), { isPatient: true })
  await admin.connect()
})
beforeEach(() => {
  env = {
    KAFKA_BROKERS: inject('brokers').kafkaBrokers.join(','),
    KAFKA_TOPIC_PREFIX: freshNames().topicPrefix,
    KAFKA_REPLICATION_FACTOR: '1',
    KAFKA_PARTITIONS: '2',
  }
  topics = allDemands(loadSettings(projectorSettings, { ...env, REDIS_URL: 'redis://a:1' })).map(({ topic }) => topic)
})
afterAll(async () => {
  await admin?.disconnect()
  await tools?.remove()
})

/** Runs `customer-stream topics`. */
const run = async (words: readonly string[], settings: Readonly<Record<string, string>> = {}): Promise<Ended> => {
  const given = { ...process.env, ...env, ...settings }
  const line = ['topics', ...words]
  const ended = await runCommandLine({ file: 'packages/cli/src/main.ts', words: line, env: given })
  inspectCommand(line, ended.stdout + ended.stderr, given)
  return ended
}

/** Runs the printed commands as a person does, with Kafka's own tools on the PATH. */
const runPrinted = async (): Promise<Ended> => {
  const { code, stdout } = await run(['create', '--print'])
  expect(code).toBe(1)
  const file = join(tools.folder, 'commands.sh')
  writeFileSync(file, stdout)
  const options = { env: { ...process.env, PATH: `${tools.folder}:${process.env.PATH}` }, cwd: tools.folder }
  return new Promise((resolve) => {
    const shell = execFile('sh', ['-e', file], options, (_, said, stderr) =>
      resolve({ code: shell.exitCode ?? -1, stdout: said, stderr }),
    )
  })
}

const alter = async (topic: string, settings: Readonly<Record<string, string>>) => {
  const wanted = Object.entries(settings)
  await administratorOf(admin).alterConfigs({
    validateOnly: false,
    resources: [{ type: TOPIC, name: topic, configEntries: wanted.map(([name, value]) => ({ name, value })) }],
  })
  await waitUntil(
    'the broker knows the settings',
    () => admin.describeTopicConfig(topic),
    (config) => wanted.every(([name, value]) => config.get(name) === value),
  )
}

it('topics create makes every topic, and topics check then finds no problem', async () => {
  const before = await run(['check'])
  expect(before.code).toBe(1)
  for (const topic of topics) expect(before.stdout).toContain(`✘ ${topic}\n    problem: is missing\n`)
  expect(before.stdout).toContain('topics: 6, problems: 6')

  const created = await run(['create', '--json'])
  expect([created.code, JSON.parse(created.stdout)]).toMatchObject([0, { ok: true, created: topics }])
  const after = await run(['check'])
  expect(after).toMatchObject({ code: 0, stderr: '' })
  for (const topic of topics) expect(after.stdout).toContain(`✔ ${topic}  2 partitions\n`)
  expect(JSON.parse((await run(['create', '--json'])).stdout)).toMatchObject({ ok: true, created: [] })
})

it('both services start with the topics that topics create has made', async () => {
  expect((await run(['create'])).code).toBe(0)
  const settings = { ...env, KAFKA_CREATE_TOPICS: 'false', MYKAARMA_AUTH: 'off' }
  const redis = { REDIS_URL: inject('brokers').redisUrl, REDIS_KEY_PREFIX: env.KAFKA_TOPIC_PREFIX ?? '' }
  const services = await Promise.all([
    startService('ingress', settings, join(tools.folder, 'ingress.log')),
    startService('projector', { ...settings, ...redis }, join(tools.folder, 'projector.log')),
  ])
  try {
    await Promise.all(services.map((service) => service.untilReady()))
  } finally {
    await Promise.all(services.map((service) => service.end()))
  }
})

it('Kafka accepts the printed commands, and topics check then finds no problem', async () => {
  expect(await runPrinted()).toMatchObject({ code: 0 })
  expect(await run(['check'])).toMatchObject({ code: 0, stderr: '' })
  expect(await run(['create', '--print'])).toMatchObject({
    code: 0,
    stdout: '# Nothing to do: every topic is as the services need it.\n',
  })
})

it('topics check names every problem of every topic, and the printed commands correct them', async () => {
  expect((await run(['create'])).code).toBe(0)
  const [raw = '', , quarantine = '', state = '', erasures = ''] = topics
  await alter(raw, { 'cleanup.policy': 'compact', 'retention.ms': '1000', 'max.message.bytes': '1000' })
  const limits = { 'message.timestamp.after.max.ms': '1000', 'message.timestamp.before.max.ms': '1000' }
  await alter(quarantine, { 'compression.type': 'lz4', ...limits })
  await alter(state, { 'cleanup.policy': 'delete', 'delete.retention.ms': '1' })
  await administratorOf(admin).createPartitions({ topicPartitions: [{ topic: erasures, count: 3 }] })
  await waitUntil(
    'the broker knows the new partition',
    () => fetchEnds(admin, erasures),
    ({ length }) => length === 3,
  )

  const { code, stdout } = await run(['check', '--json'])
  const report: { topics: { topic: string; problems: string[]; warnings: string[] }[] } = JSON.parse(stdout)
  const found = (topic: string) => report.topics.find((each) => each.topic === topic)
  const starting = (texts: readonly string[] = []) => texts.map((text) => text.split(' ')[0])
  expect(code).toBe(1)
  // A request that changes settings of a topic resets all settings that the request does not name.
  expect(starting(found(raw)?.problems)).toEqual(
    expect.arrayContaining(['cleanup.policy', 'retention.ms', 'max.message.bytes']),
  )
  expect(starting(found(quarantine)?.problems)).toContain('compression.type')
  expect(starting(found(quarantine)?.warnings)).toEqual(Object.keys(limits))
  expect(starting(found(state)?.problems)).toEqual(expect.arrayContaining(['cleanup.policy', 'delete.retention.ms']))
  expect(found(erasures)?.problems).toEqual([
    expect.stringMatching(/^has 3 partitions, but .* has 2\. Both topics must have the same/),
  ])

  const printed = await run(['create', '--print'])
  expect(printed.stdout).toContain(`# No command corrects this problem: ${erasures}: has 3 partitions`)
  expect(await runPrinted()).toMatchObject({ code: 0 })
  const after = await run(['check'])
  expect(after.stdout).toContain('problems: 1\n')
  expect(after.code).toBe(1)
})

it('topics create changes no existing topic', async () => {
  expect((await run(['create'])).code).toBe(0)
  const [raw = ''] = topics
  await alter(raw, { 'retention.ms': '1000' })
  const { code, stdout } = await run(['create'])
  expect(code).toBe(1)
  expect(stdout).toContain('problem: retention.ms is 1000, KAFKA_RETENTION_MS says -1')
  expect((await admin.describeTopicConfig(raw)).get('retention.ms')).toBe('1000')
})
