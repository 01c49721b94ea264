import { customerFromHash, customerToHash, parseEvent } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { leaksIn } from '@customer-stream/testing'
import { Value } from '@sinclair/typebox/value'
import { expect, it } from 'vitest'
import { CustomerDocument, customerDocument } from './customer-document.ts'
import { MASK, maskCustomer } from './mask.ts'

/** Returns the document of a simulated customer with these additional fields. */
const documentOf = (more: object = {}) => {
  const body = JSON.parse(makeCustomersEvent({ payloadForm: 'object' }).body)
  Object.assign(body.payload.customerWithVehicles.customer, more)
  const event = parseEvent(Buffer.from(JSON.stringify(body)))
  if (!event.ok || event.value.kind !== 'customers') throw new Error('not a customers event')
  const place = { topic: 't', partition: 0, offset: '1', receivedAt: 1, appliedAt: 2, projection: 1 }
  const made = customerToHash(event.value, place)
  if (!made.ok) throw new Error(made.detail)
  const fields = made.value.fieldsAndValues
  const pairs = fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1]!] as const] : []))
  const stored = customerFromHash(Object.fromEntries(pairs))
  const document = stored.ok ? customerDocument(stored.value) : undefined
  if (document === undefined) throw new Error('no document')
  return document
}

it('a masked customer has no personal data, and keeps the documented types', () => {
  for (let i = 0; i < 50; i++) {
    const document = documentOf()
    const text = JSON.stringify(document)
    expect(leaksIn(text).length).toBeGreaterThan(0)
    const masked = maskCustomer(document)
    const values = JSON.stringify(masked).replaceAll(/"\w+":(?=")/g, '')
    expect(leaksIn(values).filter((leak) => !leak.startsWith('a field of a customer'))).toEqual([])
    expect([...Value.Errors(CustomerDocument, masked)]).toEqual([])
    expect(Object.keys(masked.customer)).toEqual(Object.keys(document.customer))
  }
})

it('a masked customer hides fields that the sender does not document, at any place', () => {
  const secret = { label: 'S3CRET', id: 'S3CRET', isValid: ['S3CRET'] }
  const nested = [{ okToEmail: 'S3CRET' }]
  const emails = [{ emailAddress: 'S3CRET', spouse: secret, comments: 'S3CRET', okToEmail: true, emails: nested }]
  const document = documentOf({ spouse: secret, id: 'S3CRET', emails, isBusiness: 'S3CRET', bestTimeToContact: secret })
  expect(JSON.stringify(document)).toContain('S3CRET')
  const masked = maskCustomer(document)
  expect(JSON.stringify(masked)).not.toContain('S3CRET')
  expect(masked.customer.emails).toEqual([
    { emailAddress: MASK, spouse: MASK, comments: MASK, okToEmail: true, emails: MASK },
  ])
})

it('a masked customer hides names of fields that may be data, at any place', () => {
  for (const name of ['ada@example.com', '+13105550123', '1GD312CG0BF081737', 'Ada Lovelace', '']) {
    const secret = { [name]: 'x', fine: 'x' }
    const document = documentOf({ ...secret, emails: [secret], addresses: [secret], bestTimeToContact: secret })
    const text = JSON.stringify(maskCustomer({ ...document, shadowed: { [`customer.${name}`]: 'x' } }))
    expect(text).not.toContain(name || '""')
    expect(text).toContain(`"${MASK}":"${MASK}"`)
    expect(text).toContain(`"fine":"${MASK}"`)
  }
})

it('names of documented fields, and of new fields of the same form, are not masked', () => {
  // Some simulated customers have the field `loyaltyTier`, which is not documented.
  const more = { loyaltyTier: undefined, loyalty_level: 'x', phone2: 'x', addresses: [{ line1: 'x' }] }
  const document = documentOf(more)
  const shadowed = { 'customer.addresses': 'x', 'customerWithVehicles.firstName': 'x' }
  const masked = maskCustomer({ ...document, shadowed })
  expect(masked.texts).toEqual({ loyalty_level: MASK, phone2: MASK })
  expect(masked.shadowed).toEqual({ 'customer.addresses': MASK, 'customerWithVehicles.firstName': MASK })
})
