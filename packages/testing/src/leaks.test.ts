import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { inspectCommand, inspectSpans, leaksIn, rejectLeaks, secretsOf } from './leaks.ts'
import { spawnService, startService } from './service-process.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'leaks-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Returns all texts inside a value, with the names of their fields. */
const textsIn = (value: unknown, name = ''): [name: string, text: string][] =>
  typeof value === 'string'
    ? [[name, value]]
    : Object.entries(value ?? {}).flatMap(([key, item]) => textsIn(item, Array.isArray(value) ? name : key))

it('each name, e-mail address, phone number, street and VIN of a simulated customer is recognised', () => {
  const personal = new Set(['firstName', 'lastName', 'company', 'emailAddress', 'phoneNumber', 'line1', 'vin'])
  const seen = new Set<string>()
  for (let i = 0; i < 300; i++) {
    const { payload } = makeCustomersEvent()
    for (const [name, text] of textsIn(payload)) {
      if (!personal.has(name) || text === '') continue
      seen.add(name)
      const [line, inJson] = [`a log has ${text}, too`, JSON.stringify(JSON.stringify({ text }))]
      expect([text, leaksIn(line).length, leaksIn(inJson).length]).toEqual([text, 1, 1])
    }
  }
  expect(seen).toEqual(personal)
})

it.each([
  ['as text', (body: string) => body],
  ['as bytes in JSON', (body: string) => JSON.stringify(Buffer.from(body))],
  ['as inspected bytes', (body: string) => inspect(Buffer.from(body))],
  ['in base64', (body: string) => Buffer.from(body).toString('base64')],
])('the search for leaks recognises a body %s', (_, shown) => {
  const customer = { emails: [], phoneNumbers: [], firstName: 'x', lastName: 'y', company: null }
  const { body } = makeCustomersEvent({ customer, vehicles: [], addresses: [] })
  expect(leaksIn(JSON.stringify({ msg: shown(body) }))).not.toEqual([])
})

it('each secret of a setting, of a file and of a URL is recognised, but the name of a secret is not', () => {
  const file = join(folder, 'secrets')
  writeFileSync(file, 'old=first-secret\nnew=second-secret\n')
  const env = {
    MYKAARMA_SIGNING_SECRETS_FILE: file,
    MYKAARMA_TOKENS: 'main-name=third-secret',
    KAFKA_SASL_PASSWORD: 'fourth=secret',
    REDIS_URL: 'redis://user-name:fifth-secret@host-name:6379/1',
    KAFKA_BROKERS: 'host-name:9092',
  }
  const secrets = secretsOf(env)
  for (const secret of ['first', 'second', 'third', 'fourth', 'fifth'])
    expect(leaksIn(`{"msg":"${secret}-secret, ${secret}=secret"}`, secrets)).toEqual([
      expect.stringMatching(/^a secret /),
    ])
  expect(leaksIn('main-name old new user-name host-name:6379 host-name:9092', secrets)).toEqual([])
})

it('personal data in the log of a service is reported once, after the service has ended', {
  timeout: 60_000,
}, async () => {
  // The service shows a wrong value of this setting, because the setting is not a secret.
  const env = { MYKAARMA_CHARSET: 'customer.0@example.com', KAFKA_BROKERS: '127.0.0.1:1' }
  await spawnService('ingress', env, join(folder, 'ingress.log')).ended
  expect(rejectLeaks).toThrow(/the log of ingress: an e-mail address \(customer\.0@example\.com\)/)
  expect(rejectLeaks).not.toThrow()
})

it('personal data in the metrics of a service is reported', { timeout: 60_000 }, async () => {
  // Metrics show the name of a secret. Without Kafka the service starts, and waits.
  const env = {
    KAFKA_BROKERS: '127.0.0.1:1',
    MYKAARMA_SIGNING_SECRETS: 'Smith=desk-secret',
    MYKAARMA_TOKENS: 'desk=desk-token',
  }
  const service = await startService('ingress', env, join(folder, 'ingress-2.log'))
  await service.metric('ingress_answers_total')
  await service.end()
  expect(rejectLeaks).toThrow(/emitted:\n\/metrics of ingress: a name, company or street \(Smith\)/)
})

it('only the commands that show one customer or one record may print data of a customer', () => {
  for (const words of [
    ['customer', 'show', 'c'],
    ['quarantine', 'show', '1/2'],
  ])
    inspectCommand(words, 'Smith', {})
  expect(rejectLeaks).not.toThrow()
  inspectCommand(['quarantine', 'list'], 'Smith', {})
  expect(rejectLeaks).toThrow('customer-stream quarantine list: a name')
})

it('the search for leaks finds a secret of any earlier process in a span, and an API key in any text', () => {
  secretsOf({ KAFKA_SASL_PASSWORD: 'secret-of-a-span' })
  inspectSpans('{"attributes":[{"value":"secret-of-a-span"}]}')
  expect(rejectLeaks).toThrow('the spans of a service: a secret (secret-of-a-span)')
  inspectCommand(['status'], 'authorization: Bearer full-api-key', {})
  expect(rejectLeaks).toThrow('customer-stream status: an API key (full-api-key)')
})
