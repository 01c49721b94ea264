import { readFile } from 'node:fs/promises'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'

let pipeline: Pipeline
let ingress: ServiceProcess
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  ingress = await pipeline.start('ingress')
  await ingress.untilReady()
})
afterAll(() => pipeline.close())

/**
 * Returns environment variables for a projector. The projector then loads a script before its own
 * code. The script replaces the fetches of kafkajs.
 */
const fetching = (how: string) => {
  const script = `import { createRequire } from 'node:module'
createRequire(${JSON.stringify(import.meta.url)})('kafkajs/src/consumer/consumerGroup').prototype.fetch = ${how}`
  return {
    NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(script)}`,
    CONSUMER_SESSION_TIMEOUT_MS: '6000',
    // A graceful stop would wait for this consumer.
    SHUTDOWN_DEADLINE_MS: '1000',
  }
}
const endOf = async (projector: ServiceProcess) => ({
  code: await projector.ended,
  said: await readFile(projector.logFile, 'utf8'),
})

// A client of kafkajs can stop working while its process lives. A supervisor notices only the end
// of the process.
describe.concurrent('watchdogs', () => {
  it('a projector ends if kafkajs stops its consumer and does not restart it', { timeout: 40_000 }, async () => {
    const broken = `async () => { throw new TypeError('a bug in the fetch') }`
    const projector = await pipeline.start('projector', { ...fetching(broken), CONSUMER_GROUP_ID: 'broken' })
    expect(await endOf(projector)).toEqual({
      code: 1,
      said: expect.stringMatching(/"event":"failed".*a bug in the fetch/),
    })
  })

  it('a projector ends if its consumer is silent although Kafka answers', { timeout: 40_000 }, async () => {
    const projector = await pipeline.start('projector', {
      ...fetching('() => new Promise(() => {})'),
      CONSUMER_GROUP_ID: 'silent',
    })
    expect(await endOf(projector)).toEqual({ code: 1, said: expect.stringContaining('has been silent for') })
  })

  it('a projector ends if it applies no records although Kafka and Redis answer', { timeout: 60_000 }, async () => {
    const nothing = 'async () => new Promise((resolve) => setTimeout(resolve, 100, []))'
    const projector = await pipeline.start('projector', { ...fetching(nothing), CONSUMER_GROUP_ID: 'idle' })
    expect((await pipeline.post(ingress, makeCustomersEvent().body)).status).toBe(202)
    expect(await endOf(projector)).toEqual({
      code: 1,
      said: expect.stringContaining('no position of this process has moved'),
    })
  })

  it('the ingress ends if a send never ends although Kafka answers', { timeout: 120_000 }, async () => {
    const script = `import { createRequire } from 'node:module'
const { prototype } = createRequire(${JSON.stringify(import.meta.url)})('kafkajs/src/broker')
const { produce } = prototype
prototype.produce = function (request) {
  return request.acks === -1 ? new Promise(() => {}) : produce.call(this, request)
}`
    const stuck = await pipeline.start('ingress', {
      NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(script)}`,
      KAFKA_CONNECTION_TIMEOUT_MS: '100',
      KAFKA_PRODUCE_TIMEOUT_MS: '100',
      ACCEPT_DEADLINE_MS: '500',
    })
    await stuck.untilReady()
    expect((await pipeline.post(stuck, makeCustomersEvent().body)).status).toBe(503)
    const { code, said } = await endOf(stuck)
    expect([code, said]).toEqual([
      1,
      expect.stringMatching(/a send to \S+ has not ended for \d+ s, although Kafka answers/),
    ])
    expect(said).not.toContain('stop-failed')
  })
})
