import { expect, it } from 'vitest'
import { refusedRecord } from './quarantine.ts'

const refused = (headers: Readonly<Record<string, string>>) =>
  refusedRecord(
    { topic: 'raw', key: Buffer.from('c'), value: Buffer.from('x'), timestamp: 7, headers },
    new Error('MESSAGE_TOO_LARGE'),
    'quarantine',
  )

it('the quarantine copy of a refused record keeps a short content type', () => {
  const contentType = 'text/plain; charset=utf-16'
  expect(refused({ 'content-type': contentType, signature: 's' })).toEqual({
    topic: 'quarantine',
    key: null,
    value: Buffer.from('x'),
    timestamp: 7,
    headers: {
      reason: 'refused-by-kafka',
      stage: 'ingress',
      detail: 'MESSAGE_TOO_LARGE',
      topic: 'raw',
      'content-type': contentType,
    },
  })
})

it('the quarantine copy of a refused record keeps the trace context', () => {
  const trace = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=1' }
  expect(refused(trace).headers).toMatchObject(trace)
})

it('the quarantine copy of a refused record leaves out a long content type', () => {
  expect(refused({ 'content-type': 'x'.repeat(201) }).headers).not.toHaveProperty('content-type')
})
