import { describe, expect, it } from 'vitest'
import { namesCustomer } from './names-customer.ts'

describe('the customers that a value names', () => {
  it.each([
    ['{"customerUuid":"c1"}', true],
    [JSON.stringify({ payload: '{"customerUuid":"c1"}' }), true],
    ['{"customerUuid":"\\u0063\\u0031"}', true],
    [JSON.stringify({ payload: '{"customerUuid":"\\u0063\\u0031"}' }), true],
    ['{"payload":"{\\u0022customerUuid\\u0022:\\u0022c1\\u0022}"}', true],
    ['{"customerUuid":"\\u00e4c1"}', false],
    ['{"customerUuid":"c11", "text":"c1 \\u00e4"}', false],
  ])('the value %s names the customer c1: %s', (value, expected) => {
    expect(namesCustomer(Buffer.from(value), 'c1')).toBe(expected)
  })

  it('a customer id with a slash is found even if the sender has escaped the slash', () => {
    expect(namesCustomer(Buffer.from('{"customerUuid":"a\\/b"}'), 'a/b')).toBe(true)
  })
})
