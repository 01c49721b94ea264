import { expect, it } from 'vitest'
import { readQuery, termOf } from './customer-query.ts'

it.each([
  [{ phone: '(310) 555-0123' }, 'phone:+13105550123'],
  [{ phone: '+13105550123' }, 'phone:+13105550123'],
  [{ email: ' Ada.BYRON+a@Example.com ' }, 'email:ada.byron+a@example.com'],
  [{ vin: '1gd312 cg0bf081737' }, 'vin:1GD312CG0BF081737'],
  [{ dealer: 'D', key: 'k/1' }, 'key:D/k/1'],
])('the query %j has the term %s, as in the projector', (body, term) => {
  expect(termOf(readQuery(body)!, 'US')).toBe(term)
})

it.each(['letters', '12', '😀', '\0', '+1 310 555', ' ', '9'.repeat(400)])(
  'the text %j is not a phone number',
  (phone) => {
    expect(termOf(readQuery({ phone })!, 'US')).toBeUndefined()
  },
)
