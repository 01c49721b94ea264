import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import { waitUntil } from '@customer-stream/runtime'
import { decide, partitionOf, stateTopicName, topicNames, type Version, writeState } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { freshNames, kafkajsOf, startSupervised } from '@customer-stream/testing'
import { testKafka } from '@customer-stream/testing/vitest'
import { beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest'
import { createEmptyProject, type EmptyProject, root, sampleOf } from './empty-project.ts'

const run = promisify(execFile)
const readme = 'packages/subscriber/README.md'
/**
 * Type of a name that is not a text, although the vendor documents a text. `CustomerState` does not
 * have this type.
 */
type Undocumented = { readonly first: string }
const samples = ['first', 'customers', 'table', 'deliveries']

let project: EmptyProject
beforeAll(async () => {
  project = await createEmptyProject('schemas', 'subscriber')
  for (const word of samples) project.write(`${word}.ts`, sampleOf(readme, word))
})

describe('the packed packages', () => {
  it.each(['schemas', 'subscriber'])('publint and arethetypeswrong find no problem in %s', async (name) => {
    const tarball = project.tarballs[name] ?? ''
    await run(`${root}node_modules/.bin/publint`, ['run', '--strict', tarball], { cwd: root })
    await run(`${root}node_modules/.bin/attw`, [tarball, '--profile', 'node16'], { cwd: root })
  })

  const esm = { target: 'esnext', module: 'esnext', moduleResolution: 'bundler' }
  it.each([
    ['nodenext', { module: 'nodenext' }],
    ['node16', { module: 'node16', target: 'esnext' }],
    ['bundler', esm],
    ['nodenext, by TypeScript 6', { module: 'nodenext', compiler: 'tsc6' as const }],
  ])('the samples compile with the module resolution %s', async (_, options) => {
    const files = samples.map((word) => `${word}.ts`)
    expect(await project.compile({ ...options, esModuleInterop: true }, ...files)).toEqual([])
  })

  it.each(['nodenext', 'node16'])('a CommonJS module compiles with the module resolution %s', async (module) => {
    project.write(
      'common.cts',
      `import schemas = require('@customer-stream/schemas')
import subscriber = require('@customer-stream/subscriber')
const partition: number = schemas.partitionOf('c', 3)
const open: (options: subscriber.CustomerTableOptions) => subscriber.CustomerTable = subscriber.openCustomerTable
const store: subscriber.DeliveryStore['versions'] = (uuids: readonly string[]) => new Map<string, schemas.Version>()
const wrong: string = partition
`,
    )
    expect(await project.compile({ module, target: 'esnext' }, 'common.cts')).toEqual([
      expect.stringMatching(/^.*common.cts\(6,7\): error TS2322/),
    ])
  })

  it('the published types have each documented field, and a raw number for a 64-bit integer', async () => {
    project.write(
      'typed.ts',
      `import { isRawNumber, type CustomerState } from '@customer-stream/schemas'
import { type DeliveryCommit, openCustomerTable } from '@customer-stream/subscriber'
export const namesOf = ({ customer, vehicles, addresses }: CustomerState): (string | null | undefined)[] => [
  customer.firstName,
  customer.emails?.[0]?.emailAddress,
  vehicles?.[0]?.vin,
  addresses?.[0]?.zip,
]
export const idOf = ({ customer: { id } }: CustomerState): bigint | null =>
  id === null || id === undefined ? null : BigInt(isRawNumber(id) ? id.rawJSON : id)
export const wrong = ({ customer: { id } }: CustomerState): number | null | undefined => id
export const table = openCustomerTable({ brokers: [] })
export const rawOf = ({ events: [first] }: DeliveryCommit): Buffer | null | undefined => first?.raw.value
export const offsetOf = ({ next }: DeliveryCommit): number => next
`,
    )
    expect(await project.compile({ module: 'nodenext' }, 'typed.ts')).toEqual([
      expect.stringMatching(/typed.ts\(11,90\): error TS2322: Type '.*RawNumber.*' is not assignable/),
      expect.stringMatching(/typed.ts\(12,42\): error TS2353: .*'brokers' does not exist/),
      expect.stringMatching(/typed.ts\(14,63\): error TS2322: Type 'string' is not assignable to type 'number'/),
    ])
  })

  it('each option may be undefined, also with exactOptionalPropertyTypes', async () => {
    project.write(
      'optional.ts',
      `import type * as all from '@customer-stream/subscriber'
type Optional<T> = { [Name in keyof T as {} extends Pick<T, Name> ? Name : never]-?: undefined }
export const customers = (given: Optional<all.CustomerSubscription>): Partial<all.CustomerSubscription> => given
export const deliveries = (given: Optional<all.DeliverySubscription>): Partial<all.DeliverySubscription> => given
export const table = (given: Optional<all.CustomerTableOptions>): Partial<all.CustomerTableOptions> => given
`,
    )
    expect(await project.compile({ module: 'nodenext', exactOptionalPropertyTypes: true }, 'optional.ts')).toEqual([])
  })

  it('import and require of the package load the same contract', async () => {
    const program = `
      const required = require('@customer-stream/schemas').partitionOf('c', 1000)
      const { subscribeToCustomers } = require('@customer-stream/subscriber')
      import('@customer-stream/subscriber').then(async ({ openCustomerTable }) => {
        const { partitionOf } = await import('@customer-stream/schemas')
        console.log(typeof subscribeToCustomers, typeof openCustomerTable, required, partitionOf('c', 1000))
      })`
    const { stdout } = await run(process.execPath, ['--input-type=commonjs', '-e', program], { cwd: project.folder })
    const partition = partitionOf('c', 1000)
    expect(stdout).toBe(`function function ${partition} ${partition}\n`)
  })

  it.each([
    ['20', 'JSON.rawJSON'],
    ['21', 'Promise.withResolvers'],
  ])('on Node %s, which has no %s, the error of the packages names the needed version', async (_, missing) => {
    for (const load of ["import('@customer-stream/subscriber')", "require('@customer-stream/subscriber')"]) {
      const program = `delete ${missing}; ${load}`
      const failed = run(process.execPath, ['--input-type=commonjs', '-e', program], { cwd: project.folder })
      await expect(failed).rejects.toThrow(/needs Node 22 or newer/)
    }
  })

  it.each(['contract/asyncapi.json', 'conformance/hash.json'])(
    'a program can load %s of the packed schemas',
    async (file) => {
      const program = `
      import { createRequire } from 'node:module'
      const name = '@customer-stream/schemas/${file}'
      const { default: imported } = await import(name, { with: { type: 'json' } })
      console.log(JSON.stringify([imported, createRequire(import.meta.url)(name)]))`
      const args = ['--input-type=module', '-e', program]
      const { stdout } = await run(process.execPath, args, { cwd: project.folder })
      const expected: unknown = JSON.parse(readFileSync(join(root, 'packages/schemas', file), 'utf8'))
      expect(JSON.parse(stdout)).toEqual([expected, expected])
    },
  )
})

describe('the samples', () => {
  const openTopic = async (nameOf: (prefix: string) => string = stateTopicName) => {
    const { topicPrefix, groupId } = freshNames()
    const kafka = kafkajsOf(testKafka())
    const topic = nameOf(topicPrefix)
    const admin = kafka.admin()
    const producer = kafka.producer()
    await Promise.all([admin.connect(), producer.connect()])
    onTestFinished(async () => {
      await Promise.all([admin.disconnect(), producer.disconnect()])
    })
    // Do not wait here, because kafkajs rejects if the broker does not know the new topic yet.
    await admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 3 }] })
    await waitUntil(
      'the topic has leaders',
      () => admin.fetchTopicOffsets(topic).catch(() => []),
      (ends) => ends.length === 3,
    )
    const send = (key: string, value: string | null) => producer.send({ topic, messages: [{ key, value }] })
    const write = (customerUuid: string, timestamp: number, firstName: string | Undocumented) =>
      send(
        customerUuid,
        writeState({
          customerUuid,
          version: { timestamp, id: 'e' },
          customer: { customerUuid, firstName: firstName as string },
          receivedAt: 1,
          source: { topic: 'raw', partition: 0, offset: '0' },
        }),
      )
    const env = {
      KAFKA_BROKERS: inject('brokers').kafkaBrokers.join(','),
      KAFKA_TOPIC_PREFIX: topicPrefix,
      TOPIC: topic,
      GROUP_ID: groupId,
      DATABASE: join(project.folder, `${groupId}.db`),
    }
    const logFile = join(project.folder, `${groupId}.log`)
    const start = (sample: string) =>
      startSupervised({ command: process.execPath, args: [join(project.folder, sample)], env, logFile })
    const log = () => readFileSync(logFile, 'utf8')
    return { topic, admin, producer, send, write, env, start, log }
  }

  it('customers.ts keeps the newest state after a restart, and fails if the consumer fails', async () => {
    const { topic, admin, send, write, env, start } = await openTopic()
    const stored = () => {
      try {
        const database = new DatabaseSync(env.DATABASE, { readOnly: true, timeout: 5000 })
        try {
          const rows = database.prepare("SELECT uuid, customer ->> 'firstName' AS firstName FROM customer").all()
          return Object.fromEntries(rows.map(({ uuid, firstName }) => [uuid, firstName]))
        } finally {
          database.close()
        }
      } catch {
        return {}
      }
    }
    const until = (expected: object) =>
      waitUntil('the database is right', stored, (found) => {
        try {
          expect(found).toEqual(expected)
          return true
        } catch {
          return false
        }
      })
    await write('a', 2, 'Ada')
    await write('b', 1, 'Bob')
    await send('b', null)
    await send('a', 'foreign')
    await write('c', 1, { first: 'Cleo' })
    await write('c', 2, 'Cleo')
    const before = start('customers.ts')
    await until({ a: 'Ada', c: 'Cleo' })
    process.kill(await before.pid, 'SIGTERM')
    expect(await before.ended).toBe(0)

    // The subscriber is not running. Write an older and a newer document of one customer, and
    // another customer's tombstone.
    await write('a', 1, 'Older')
    await write('a', 3, 'Ada Lovelace')
    await send('c', null)
    const after = start('customers.ts')
    await until({ a: 'Ada Lovelace' })

    // kafkajs cannot read zstd without a codec.
    const zstd = [{ name: 'compression.type', value: 'zstd' }]
    await admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: topic, configEntries: zstd }] })
    await waitUntil(
      'the subscriber has ended',
      async () => {
        await write('a', 4, 'Ada')
        return after.hasEnded()
      },
      (hasEnded) => hasEnded,
    )
    expect(await after.ended).toBe(1)
  })

  it('first.ts prints the customers and each change, and every current customer after a restart', async () => {
    const { write, send, start, log } = await openTopic()
    await write('a', 1, 'Ada')
    const until = (text: string) => waitUntil(`the log has ${text}`, log, (output) => output.includes(text))
    const first = start('first.ts')
    await until('a Ada\n')
    await write('b', 1, 'Bob')
    await until('b Bob\n')
    process.kill(await first.pid, 'SIGKILL')
    await first.ended

    // Send these records while the subscriber is not running.
    await send('b', null)
    await write('a', 2, 'Ada Lovelace')
    const before = log().length
    const again = start('first.ts')
    await until('a Ada Lovelace\n')
    await write('c', 1, 'Cleo')
    await until('c Cleo\n')
    process.kill(await again.pid, 'SIGKILL')
    await again.ended
    const lines = log().slice(before).split('\n')
    expect(lines.filter((line) => /^[a-z] /.test(line))).toEqual(['a Ada Lovelace', 'c Cleo'])
  })

  it('table.ts prints the customers and each change, and continues after a restart', async () => {
    const { write, send, start, log } = await openTopic()
    await write('a', 1, 'Ada')
    await write('b', 1, 'Bob')
    const table = start('table.ts')
    const until = (text: string) => waitUntil(`the log has ${text}`, log, (output) => output.includes(text))
    await until('2 customers, ')
    await write('a', 2, 'Ada Lovelace')
    await until('a Ada Lovelace\n')
    await send('b', null)
    await until('b erased\n')
    process.kill(await table.pid, 'SIGTERM')
    expect(await table.ended).toBe(0)

    // Write these documents while the subscriber is not running.
    await write('a', 1, 'Older')
    await write('c', 1, 'Cleo')
    await write('d', 1, 'Dora')
    await send('d', null)
    const before = log().length
    const again = start('table.ts')
    await until('c Cleo\n')
    await write('c', 2, 'Cleopatra')
    await until('c Cleopatra\n')
    process.kill(await again.pid, 'SIGTERM')
    expect(await again.ended).toBe(0)
    const lines = log()
      .slice(before)
      .split('\n')
      .filter((line) => /^\d+ customers|^[a-z] /.test(line))
    expect(lines[0]).toMatch(/^2 customers, /)
    expect(lines.slice(1, 3).sort()).toEqual(['a Ada Lovelace', 'c Cleo'])
    expect(lines.slice(3)).toEqual(['c Cleopatra'])
  })

  it('deliveries.ts stores each newer event once, even after several kills', async () => {
    const { topic, producer, send, env, start, log } = await openTopic((prefix) => topicNames(prefix).customers)
    // About one of four events is newer than all earlier events of its customer.
    const deliveries = Array.from({ length: 6000 }, (_, i) => ({
      customerUuid: `customer-${i % 100}`,
      timestamp: 1 + ((i * 7919) % 997),
      id: `e${i % 2}`,
    }))
    const messages = deliveries.map((event) => ({ key: event.customerUuid, value: makeCustomersEvent(event).body }))
    await send('foreign', 'no json')
    const undocumented = { firstName: { first: 'Cleo' } as Undocumented as unknown as string }
    await send('foreign', makeCustomersEvent({ customerUuid: 'foreign', customer: undocumented }).body)
    // Kafka does not accept all records in one request.
    for (let i = 0; i < messages.length; i += 500) await producer.send({ topic, messages: messages.slice(i, i + 500) })
    const read = (): { readonly records: number; readonly changes: readonly string[] } => {
      try {
        const database = new DatabaseSync(env.DATABASE, { readOnly: true, timeout: 5000 })
        try {
          const positions = database.prepare('SELECT next FROM position').all()
          const changes = database.prepare('SELECT uuid, timestamp FROM change ORDER BY rowid').all()
          return {
            records: positions.reduce((sum, { next }) => sum + Number(next), 0),
            changes: changes.map(({ uuid, timestamp }) => `${uuid} ${timestamp}`),
          }
        } finally {
          database.close()
        }
      } catch {
        return { records: 0, changes: [] }
      }
    }
    // Look every 5 ms, because the kill must come before the program has stored all records.
    const untilRead = async (isEnough: (records: number) => boolean) =>
      (await waitUntil('the database has the records', read, ({ records }) => isEnough(records), { pauseMs: 5 }))
        .records
    let stored = 0
    for (let kills = 0; kills < 3; kills++) {
      const killed = start('deliveries.ts')
      const before = stored
      stored = await untilRead((records) => records > before)
      process.kill(await killed.pid, 'SIGKILL')
      await killed.ended
    }
    expect(stored).toBeLessThan(deliveries.length)
    const last = start('deliveries.ts')
    await untilRead((records) => records === deliveries.length + 2)
    process.kill(await last.pid, 'SIGTERM')
    expect(await last.ended).toBe(0)

    const newest = new Map<string, Version>()
    const expected = deliveries.filter(({ customerUuid, timestamp, id }) => {
      const isNewer = decide(newest.get(customerUuid), { timestamp, id }) === 'apply'
      if (isNewer) newest.set(customerUuid, { timestamp, id })
      return isNewer
    })
    const { changes } = read()
    for (const customer of newest.keys()) {
      const timestamps = expected.filter(({ customerUuid }) => customerUuid === customer).map((one) => one.timestamp)
      expect(changes.filter((text) => text.startsWith(`${customer} `))).toEqual(
        timestamps.map((timestamp) => `${customer} ${timestamp}`),
      )
    }
    expect(log()).toContain('offset 0: not-json')
  })
})
