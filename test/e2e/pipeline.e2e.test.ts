import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { readTopic } from '@customer-stream/runtime/kafka'
import { customerFromHash, customerKey, RAW_HEADERS } from '@customer-stream/schemas'
import { createSimulation, makeCustomersEvent, sign } from '@customer-stream/simulator'
import { openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'

let pipeline: Pipeline
beforeEach(async () => {
  pipeline = await openPipeline(inject('brokers'))
})
afterEach(() => pipeline.close())

const startBoth = async () => {
  const [ingress, projector] = await Promise.all([
    pipeline.start('ingress'),
    pipeline.start('projector', { CONSUMER_SESSION_TIMEOUT_MS: '6000' }),
  ])
  await Promise.all([ingress.untilReady(), projector.untilReady()])
  return { ingress, projector }
}
const simulation = (
  ingress: ServiceProcess,
  events: number,
  options: { ratePerSecond?: number; signal?: AbortSignal } = {},
) => {
  const ledgerPath = join(pipeline.folder, 'ledger.jsonl')
  const run = createSimulation({
    url: `${ingress.url}/webhooks/mykaarma`,
    secret: pipeline.secret,
    token: pipeline.token,
    events,
    customers: Math.ceil(events / 10),
    repeats: 0.1,
    disorder: 0.2,
    drops: 0.05,
    other: 0.1,
    retryBaseMs: 100,
    ledgerPath,
    ...options,
  })
  return { run, ledgerPath }
}
const sound = { missing: [], wrong: [] }

describe('the pipeline', () => {
  it('every acknowledged event is in Kafka, and Redis has the newest event of every customer', async () => {
    const { ingress, projector } = await startBoth()
    const { run, ledgerPath } = simulation(ingress, 4000)
    const progress = await run.run()
    expect(progress).toMatchObject({ made: 4000, promised: 4000, lost: 0 })
    expect(progress.dropped).toBeGreaterThan(0)
    const verdict = await pipeline.verify(ledgerPath)
    expect(verdict).toMatchObject({ ...sound, promisedEvents: 4000, records: { unusable: 0 } })
    // Each record has exactly one outcome.
    expect(await projector.metric('projector_events_total')).toBe(verdict.records.customers)
    expect(await projector.metric('projector_rewinds_total')).toBe(0)
  })

  it('Kafka has the unchanged bytes of the request, and Redis has the complete customer', async () => {
    const { ingress } = await startBoth()
    const { body, customerUuid } = makeCustomersEvent({ customer: { firstName: 'Zoë 👋', odd: [1, { a: null }] } })
    const spaced = `\t${body.replace('{', '{ "exact":12345678901234567890,\n')} `
    expect((await pipeline.post(ingress, spaced)).status).toBe(202)
    const raw: { value: Buffer | null; key: Buffer | null; signature: string }[] = []
    await readTopic(pipeline.admin, pipeline.topics.customers, ({ value, key, headers }) => {
      raw.push({ value, key, signature: String(headers?.[RAW_HEADERS.signature]) })
    })
    expect(raw).toEqual([
      { value: Buffer.from(spaced), key: Buffer.from(customerUuid), signature: sign(spaced, pipeline.secret) },
    ])
    const hash = await waitUntil(
      'the customer is in Redis',
      () => pipeline.redis.hgetall(customerKey(customerUuid, pipeline.keyPrefix)),
      (fields) => Object.keys(fields).length > 0,
    )
    expect(customerFromHash(hash)).toMatchObject({
      ok: true,
      value: { customer: { customerUuid, firstName: 'Zoë 👋' }, other: { odd: '[1,{"a":null}]' } },
    })
  })

  it('no event is lost when projectors join and leave under load', async () => {
    const { ingress, projector } = await startBoth()
    const { run, ledgerPath } = simulation(ingress, 6000, { ratePerSecond: 1000 })
    const sending = run.run()
    const shared = async (members: ServiceProcess[]) =>
      Promise.all(members.map((member) => member.metric('projector_assigned_partitions')))
    const second = await pipeline.start('projector')
    await waitUntil(
      'the partitions are shared',
      () => shared([projector, second]),
      (counts) => counts.every((count) => count === 6),
    )
    expect(await projector.end()).toBe(0)
    await waitUntil(
      'the second projector has all partitions',
      () => shared([second]),
      ([count]) => count === 12,
    )
    const third = await pipeline.start('projector')
    await waitUntil(
      'the partitions are shared again',
      () => shared([second, third]),
      (counts) => counts.every((count) => count === 6),
    )
    expect(await sending).toMatchObject({ promised: 6000, lost: 0 })
    expect(await pipeline.verify(ledgerPath)).toMatchObject({ ...sound, promisedEvents: 6000 })
  })

  it('no acknowledged event is lost when the ingress stops under load', async () => {
    const { ingress } = await startBoth()
    const stopped = new AbortController()
    const { run, ledgerPath } = simulation(ingress, 1_000_000, { signal: stopped.signal })
    const sending = run.run()
    await waitUntil(
      'events flow',
      () => run.progress.promised,
      (promised) => promised > 500,
    )
    expect(await ingress.end()).toBe(0)
    stopped.abort()
    const progress = await sending
    // No request was refused, because requests in flight were answered before the port closed.
    expect(progress.statuses).toEqual({ 202: progress.promises })
    expect(await pipeline.verify(ledgerPath)).toMatchObject(sound)
  })

  it('after a projector was killed, another projector continues its partitions', async () => {
    const { ingress, projector } = await startBoth()
    const { run, ledgerPath } = simulation(ingress, 3000)
    const sending = run.run()
    await waitUntil(
      'events are applied',
      () => projector.metric('projector_events_total'),
      (events) => events > 300,
    )
    projector.signal('SIGKILL')
    await projector.ended
    const next = await pipeline.start('projector', { CONSUMER_SESSION_TIMEOUT_MS: '6000' })
    await next.untilReady()
    expect(await sending).toMatchObject({ promised: 3000 })
    expect(await pipeline.verify(ledgerPath)).toMatchObject(sound)
  })
})
