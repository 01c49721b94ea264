import { expect, it } from 'vitest'
import { differingFields } from './compare-document.ts'

const fields = new Map([
  ['firstName', 'Ada'],
  ['_eventId', 'e1'],
])

it('a hash with the fields of the document does not differ, whatever its copy', () => {
  expect(differingFields({ _source: 't/0/1', _eventId: 'e1', firstName: 'Ada' }, { fields })).toEqual([])
})

it('names changed, missing and additional fields', () => {
  const hash = { firstName: 'Eve', age: '1', _customerWithVehicles_x: '1' }
  expect(differingFields(hash, { fields })).toEqual(['_customerWithVehicles_x', '_eventId', 'age', 'firstName'])
})
