import { expect, it } from 'vitest'
import { createShownCustomers } from './shown-customers.ts'

const change = (dealerUuid: string) => ({ customerUuid: 'x', dealerUuid, isErased: false })

it('a new dealer of a customer counts as a move only while a stream shows the customer', () => {
  const shown = createShownCustomers()
  expect(shown.move(change('a'))).toBe(false)
  shown.add('x', 'a')
  shown.add('x', 'a')
  shown.remove('x')
  expect([shown.move(change('a')), shown.move(change('b')), shown.move(change('b'))]).toEqual([false, true, false])
  shown.remove('x')
  expect(shown.move(change('a'))).toBe(false)
})

it('if streams have shown a customer with different dealers, the next change counts as a move', () => {
  const shown = createShownCustomers()
  // Two slow streams read older changes. The first stream has shown the customer with the old
  // dealer, and then removes the customer.
  shown.add('x', 'a')
  shown.add('x', 'b')
  shown.remove('x')
  expect(shown.move(change('a'))).toBe(true)
})

it('all streams get the change of an erased customer', () => {
  const erased = { customerUuid: 'x', dealerUuid: undefined, isErased: true }
  expect(createShownCustomers().move(erased)).toBe(true)
})
