import { expect, it } from 'vitest'
import { readTraceContext, traceContextOf } from './trace-context.ts'

const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

it.each([
  ['nonsense', 'nonsense'],
  ['an invalid version', traceparent.replace('00-', 'ff-')],
  ['a trace id of zeros', `00-${'0'.repeat(32)}-b7ad6b7169203331-01`],
  ['a span id of zeros', `00-0af7651916cd43dd8448eb211c80319c-${'0'.repeat(16)}-01`],
  ['capital letters', traceparent.toUpperCase()],
  ['two values', `${traceparent}, ${traceparent}`],
])('a traceparent with %s is not a trace context', (_, wrong) => {
  expect(readTraceContext(wrong, 'a=1')).toBeUndefined()
})

it('a tracestate is kept only beside a valid traceparent, and only if it has at most 512 printable characters', () => {
  const tracestate = `a=1, b=${'x'.repeat(505)}`
  expect(readTraceContext(traceparent, tracestate)).toEqual({ traceparent, tracestate })
  for (const wrong of [undefined, '', `${tracestate}x`, 'a=\u0007', 'a=é'])
    expect(readTraceContext(traceparent, wrong)).toEqual({ traceparent })
  expect(readTraceContext(undefined, tracestate)).toBeUndefined()
})

it('the trace context of a record is in its headers, as bytes or as text', () => {
  const headers = { traceparent: Buffer.from(traceparent), tracestate: 'a=1', other: 'x' }
  expect(traceContextOf(headers)).toEqual({ traceparent, tracestate: 'a=1' })
  expect(traceContextOf({ tracestate: 'a=1' })).toBeUndefined()
  expect(traceContextOf(undefined)).toBeUndefined()
})
