/**
 * Sends changed events, and requests that Schemathesis derives from the OpenAPI document of the
 * ingress.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readTopic } from '@customer-stream/runtime/kafka'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { isSound, verdictLines } from '@customer-stream/verify'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { anyBody } from './bodies.ts'
import { runSchemathesis, schemathesis, seconds, timeout } from './schemathesis.ts'

const folder = fileURLToPath(new URL('.', import.meta.url))

let pipeline: Pipeline
let ingress: ServiceProcess
let projector: ServiceProcess
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  ingress = await pipeline.start('ingress')
  projector = await pipeline.start('projector')
  await Promise.all([ingress.untilReady(), projector.untilReady()])
})
afterAll(() => pipeline?.close())

/** Number of answers 202 by the body, in base64. */
type Accepted = Map<string, number>
const add = (bodies: Accepted, body: string, count: number) => bodies.set(body, (bodies.get(body) ?? 0) + count)

/**
 * Checks three facts. Each accepted body is in Kafka as often as it got 202. Redis has the newest
 * event of each customer. All unusable records are in quarantine.
 */
const expectStored = async (accepted: Accepted) => {
  const missing = new Map(accepted)
  for (const topic of [pipeline.topics.customers, pipeline.topics.other])
    await readTopic(pipeline.admin, topic, ({ value }) => void add(missing, value?.toString('base64') ?? '', -1))
  expect([...missing].filter(([, count]) => count > 0)).toEqual([])
  // `verify` waits until the projector has read all records.
  const verdict = await pipeline.verify()
  process.stdout.write(`${verdictLines(verdict).join('\n')}\n`)
  expect([isSound(verdict), verdict.notQuarantined.count, verdict.wrongCount]).toEqual([true, 0, 0])
  expect(await ingress.metric('ingress_answers_total', { answer: 'internal-error' })).toBe(0)
  for (const { ended } of [ingress, projector]) expect(await Promise.race([ended, 'running'])).toBe('running')
}

it('each changed event that gets 202 is a record in Kafka, and no event ends the projector', {
  timeout,
}, async () => {
  const accepted: Accepted = new Map()
  const statuses: Record<string, number> = {}
  const send = async (body: Buffer) => {
    const { status } = await pipeline.post(ingress, body)
    statuses[status] = (statuses[status] ?? 0) + 1
    if (status === 202) add(accepted, body.toString('base64'), 1)
  }
  await send(Buffer.from(makeCustomersEvent().body))
  const until = performance.now() + seconds * 1000
  while (performance.now() < until) await Promise.all(fc.sample(anyBody, 20).map(send))
  process.stdout.write(`answers by status: ${JSON.stringify(statuses)}\n`)
  // On an overloaded machine the ingress may answer 503.
  expect(Object.keys(statuses).filter((status) => !['202', '400', '422', '503'].includes(status))).toEqual([])
  await expectStored(accepted)
})

const OPTIONS = [
  ...['--report', 'har', '--report-preserve-bytes'],
  // The OpenAPI document cannot say that a text must be JSON. So the ingress refuses most generated
  // texts.
  ...['--exclude-checks', 'positive_data_acceptance'],
]

interface Exchange {
  /** The body is in base64. */
  readonly request: { readonly postData?: { readonly text: string } }
  readonly response?: { readonly status: number }
}

it.skipIf(schemathesis === undefined)(
  'each generated request gets a documented answer, and each 202 is a record in Kafka',
  { timeout },
  async () => {
    const report = join(pipeline.folder, 'exchanges.har')
    const { code, output } = await runSchemathesis({
      document: 'openapi.json',
      url: ingress.url,
      cwd: pipeline.folder,
      options: [...OPTIONS, '--report-har-path', report],
      env: {
        SCHEMATHESIS_HOOKS: 'sign',
        PYTHONPATH: folder,
        PYTHONDONTWRITEBYTECODE: '1',
        FUZZ_SECRET: pipeline.secret,
        FUZZ_TOKEN: pipeline.token,
      },
    })
    expect(code, output).toBe(0)
    const { log } = JSON.parse(readFileSync(report, 'utf8')) as { log: { entries: readonly Exchange[] } }
    const accepted: Accepted = new Map()
    for (const { request, response } of log.entries)
      if (response?.status === 202) add(accepted, request.postData?.text ?? '', 1)
    process.stdout.write(`${log.entries.length} requests, ${accepted.size} different bodies with 202\n`)
    await expectStored(accepted)
  },
)
