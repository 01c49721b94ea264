import { expect, it } from 'vitest'
import { documentOf } from '../pipeline/document.ts'
import { MEASUREMENT } from '../pipeline/fixtures/measurement.ts'
import { start } from './fixtures/start-app.ts'
import type { PipelineDocument } from './pipeline-document.ts'

it('the reader answers 503 before its first measurement, and with the document afterwards', async () => {
  let document: PipelineDocument | undefined
  const { get } = start({ pipeline: { document: () => document } })
  expect((await get('/v1/pipeline', 'operator')).json()).toMatchObject({ type: 'unavailable', status: 503 })
  document = documentOf([MEASUREMENT], [], 1)
  const answer = await get('/v1/pipeline', 'operator')
  expect([answer.statusCode, answer.headers['cache-control']]).toEqual([200, 'no-store'])
  expect(answer.json()).toEqual(JSON.parse(JSON.stringify(document)))
})

it('a request for the pipeline with a parameter is refused with 400', async () => {
  expect((await start().get('/v1/pipeline?x=1', 'operator')).json()).toMatchObject({ type: 'invalid-parameter' })
})
