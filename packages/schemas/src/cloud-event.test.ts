import { expect, it } from 'vitest'
import { cloudEventOf } from './cloud-event.ts'
import { readState } from './state.ts'

const stateOf = (more = '', timestamp = 1728542293678) => {
  const state = readState(
    Buffer.from(
      `{"customerUuid":"c","version":{"timestamp":${timestamp},"id":"e"},` +
        `"customer":{"customerUuid":"c","id":12345678901234567890}${more},` +
        '"receivedAt":1,"source":{"topic":"t","partition":0,"offset":"1"}}',
    ),
  )
  if (!state.ok) throw new Error(state.detail)
  return state.value
}

it('a CloudEvent has the attributes of version 1.0, and the customer with all digits', () => {
  expect(JSON.stringify(cloudEventOf(stateOf(',"dealerUuid":"d/1","vehicles":[{"vin":"V"}]')))).toBe(
    '{"specversion":"1.0","id":"e","source":"/mykaarma/dealers/d%2F1","type":"com.mykaarma.customers","subject":"c",' +
      '"time":"2024-10-10T06:38:13.678Z","datacontenttype":"application/json",' +
      '"data":{"customer":{"customerUuid":"c","id":12345678901234567890},"vehicles":[{"vin":"V"}]}}',
  )
})

it('the data of a CloudEvent has exactly the members of the state', () => {
  const all = ',"vehicles":[{"vin":"V"}],"addresses":[{"zip":"1"}],"other":{"segment":"a"}'
  const membersOf = (more: string) => Object.keys(cloudEventOf(stateOf(more)).data)
  expect(membersOf('')).toEqual(['customer'])
  expect(membersOf(all)).toEqual(['customer', 'vehicles', 'addresses', 'other'])
})

it.each([
  ['of an event without a dealer', ''],
  ['of an event with an empty dealer', ',"dealerUuid":""'],
])('the source of a CloudEvent %s is /mykaarma', (_, more) => {
  expect(cloudEventOf(stateOf(more)).source).toBe('/mykaarma')
})

it('the source of a CloudEvent has a replacement character if the dealer id is not valid Unicode', () => {
  expect(cloudEventOf(stateOf(',"dealerUuid":"\\ud800"')).source).toBe('/mykaarma/dealers/%EF%BF%BD')
})

it.each([
  [253_402_300_799_999, '9999-12-31T23:59:59.999Z'],
  [253_402_300_800_000, undefined],
  [Number.MAX_SAFE_INTEGER, undefined],
])('the time of a CloudEvent with the timestamp %d is %s', (timestamp, time) => {
  expect(cloudEventOf(stateOf('', timestamp)).time).toBe(time)
})
