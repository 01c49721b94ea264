/** Sends requests that Schemathesis derives from the OpenAPI document of the reader. */
import { readFileSync } from 'node:fs'
import { customerKey, indexKey, positionsKey } from '@customer-stream/schemas'
import { openPipeline, type Pipeline } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { runSchemathesis, schemathesis, timeout } from './schemathesis.ts'

let pipeline: Pipeline
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
})
afterAll(() => pipeline?.close())

/** Stores a customer under an id and at a dealer that Schemathesis often generates. */
const storeCustomer = async ({ redis, keyPrefix }: Pipeline) => {
  await redis.hset(positionsKey(1, keyPrefix), { 'raw/0': '1', 'raw/indexes': 'dealer,email,key,phone,vin/US' })
  await redis.hset(customerKey('0', keyPrefix), {
    customerUuid: '0',
    dealerUuid: '0',
    firstName: 'Ada',
    isBusiness: 'false',
    loyalty: '5',
    vehicles: '[{"vin":"0","id":12345678901234567890}]',
    addresses: '[{"isValid":true}]',
    _eventId: 'e',
    _eventTimestamp: '7',
    _receivedAt: '8',
    _appliedAt: '9',
    _source: 'raw/0/0',
    _projection: '1',
    _index: '["dealer:0","email:0","key:0/0","vin:0"]',
  })
  for (const term of ['dealer:0', 'email:0', 'key:0/0', 'vin:0'] as const)
    await redis.zadd(indexKey(term, keyPrefix), 7, '0')
}

it.skipIf(schemathesis === undefined)(
  'each generated request gets a documented answer of the reader',
  {
    timeout,
  },
  async () => {
    await storeCustomer(pipeline)
    const reader = await pipeline.start('reader', { READ_WAIT_MS: '50', READER_MAX_RATE: '1000000' })
    await reader.untilReady()
    // There is no state topic, so `/v1/changes` begins no stream. A stream would never end.
    const { code, output } = await runSchemathesis({
      document: 'reader-openapi.json',
      url: reader.url,
      cwd: pipeline.folder,
      options: [
        ...['--header', 'authorization: Bearer full-api-key'],
        // Every request has the header, so this check would need another run.
        // `services/reader/src/http/app.test.ts` has requests without a key.
        ...['--exclude-checks', 'ignored_auth'],
        // 504 is a documented answer to `min-version`. The metric below counts answers with 500.
        ...['--exclude-checks', 'not_a_server_error'],
        // The document cannot say which texts are phone numbers, and which cursors exist.
        ...['--exclude-checks', 'positive_data_acceptance'],
      ],
    })
    expect(code, output).toBe(0)
    const answers = await reader.metric('reader_answers_total')
    const found = await reader.metric('reader_answers_total', { answer: 'ok' })
    process.stdout.write(`${answers} answers of the reader, ${found} with 200\n`)
    expect(found).toBeGreaterThan(0)
    expect(await reader.metric('reader_answers_total', { answer: 'internal-error' })).toBe(0)
    expect(await reader.end()).toBe(0)
    expect(readFileSync(reader.logFile, 'utf8')).not.toContain('"level":50')
  },
)
