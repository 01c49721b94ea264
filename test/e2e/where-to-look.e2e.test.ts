import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import {
  freshNames,
  inspectCommand,
  openPipeline,
  type Pipeline,
  READER_KEY,
  type ServiceProcess,
} from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { whereToLook } from '../../tools/where-to-look.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { scripts } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { scripts: Record<string, string> }

const names = freshNames()
let pipeline: Pipeline
let ingress: ServiceProcess
let projector: ServiceProcess
let reader: ServiceProcess
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'), names)
  ingress = await pipeline.start('ingress')
  reader = await pipeline.start('reader')
  projector = await pipeline.start('projector')
  await Promise.all([ingress, reader, projector].map((service) => service.untilReady()))
})
afterAll(() => pipeline.close())

it('each command that the demo prints works in this repository', { timeout: 120_000 }, async () => {
  const { body } = makeCustomersEvent({ customerUuid: 'shown', timestamp: 7, customer: { firstName: 'Renée' } })
  // The body is not valid UTF-8, so each program that reads it needs the charset in the record's
  // header. Replace each character that Latin-1 lacks. Otherwise only its low byte would be sent,
  // for example a quote that ends the JSON text.
  const latin1 = Buffer.from(body.toString().replace(/[^\u0020-\u00ff]/g, '?'), 'latin1')
  expect((await pipeline.post(ingress, latin1, { 'content-type': 'text/plain; charset=windows-1252' })).status).toBe(
    202,
  )
  await waitUntil(
    'the customer is in Redis',
    () => pipeline.redis.exists(`${pipeline.keyPrefix}customer:{shown}`),
    (count) => count === 1,
  )
  const { secret, token } = pipeline
  const keys = { secret, token, apiKey: READER_KEY }
  const text = whereToLook(inject('brokers'), { ingress, projector, reader }, keys, 'shown', names)
  const exported = [...text.matchAll(/([A-Z_]+)=(\S+)/g)].map(([, name = '', value]) => [name, value])
  const env = { ...process.env, ...Object.fromEntries(exported) }
  const commands = [...text.matchAll(/^ {2}npm run (\w+)(?: -- (.*?))?(?: {3}.*)?$/gm)]
  const results = new Map<string, string>()
  for (const [, name = '', args = ''] of commands) {
    const [, ...script] = (scripts[name] ?? '').split(' ')
    const options = args.split(' ').filter(Boolean)
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [...script, ...options], { cwd: root, env })
    inspectCommand([name, ...options], stdout + stderr, env)
    results.set(`${name} ${args}`.trim().replace(/ --.*/, ''), stdout)
  }
  expect([...results.keys()]).toEqual(['status', 'customer show shown', 'customer history shown', 'verify', 'simulate'])
  expect(results.get('status')).toMatch(
    /^All is well[^\n]*\.\n[\s\S]*ingress http:\S+: ready\n *projector http:\S+: ready\n *reader http:\S+: ready\n/,
  )
  expect(results.get('status')).not.toContain('was asked')
  expect(results.get('customer history shown')).toMatch(/applied {2}◀ in Redis/)
  expect(results.get('customer show shown')).toMatch(/firstName +Renée/)
  expect(results.get('verify')).toMatch(/customers compared, every field +1 /)
  const [, request = ''] = /^ {2}(curl .*\S) {3}/m.exec(text) ?? []
  const { stdout } = await promisify(execFile)('bash', ['-c', `${request} --silent --fail`])
  expect(JSON.parse(stdout)).toMatchObject({ customer: { firstName: 'Renée' } })
  // The text ends with addresses. The address of the metrics must answer.
  const [, metrics = ''] = /Metrics: (\S+)/.exec(text) ?? []
  expect((await fetch(metrics)).status).toBe(200)
})
