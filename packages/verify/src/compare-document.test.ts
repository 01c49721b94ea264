import { expect, it } from 'vitest'
import { differingFields } from './compare-document.ts'

const fields = new Map([
  ['firstName', 'Ada'],
  ['_eventId', 'e1'],
])

it('differingFields finds no difference if the hash has the fields of the document', () => {
  expect(differingFields({ _source: 't/0/1', _eventId: 'e1', firstName: 'Ada' }, { fields })).toEqual([])
})

it('differingFields names changed, missing and additional fields', () => {
  const hash = { firstName: 'Eve', age: '1', _customerWithVehicles_x: '1' }
  expect(differingFields(hash, { fields })).toEqual(['_customerWithVehicles_x', '_eventId', 'age', 'firstName'])
})
