import type { CustomerState } from './state.ts'

/** A CloudEvent 1.0 (https://cloudevents.io) in structured form, with JSON as its data. */
export interface CustomerCloudEvent {
  readonly specversion: '1.0'
  /** Id of the sender's event. `source` and `id` together identify the event. */
  readonly id: string
  /** `/mykaarma/dealers/<dealerUuid>`, or `/mykaarma` if the event names no dealer. */
  readonly source: string
  readonly type: 'com.mykaarma.customers'
  /** The customerUuid. */
  readonly subject: string
  /** Time of the change, RFC 3339. Missing if the year is after 9999. */
  readonly time?: string
  readonly datacontenttype: 'application/json'
  readonly data: Pick<CustomerState, 'customer' | 'vehicles' | 'addresses' | 'other'>
}

/** Unix milliseconds. RFC 3339 has only years of four digits. */
const END_OF_9999 = 253_402_300_799_999

/**
 * Returns a customer's state as a CloudEvent. An event that was delivered twice gives the same
 * `source` and `id` both times. `JSON.stringify` writes all digits of the numbers.
 */
export const cloudEventOf = (state: CustomerState): CustomerCloudEvent => {
  const { customerUuid, version, dealerUuid, customer, vehicles, addresses, other } = state
  const isDealer = typeof dealerUuid === 'string' && dealerUuid !== ''
  return {
    specversion: '1.0',
    id: version.id,
    source: isDealer ? `/mykaarma/dealers/${encodeURIComponent(dealerUuid.toWellFormed())}` : '/mykaarma',
    type: 'com.mykaarma.customers',
    subject: customerUuid,
    ...(version.timestamp <= END_OF_9999 && { time: new Date(version.timestamp).toISOString() }),
    datacontenttype: 'application/json',
    data: {
      customer,
      ...(vehicles !== undefined && { vehicles }),
      ...(addresses !== undefined && { addresses }),
      ...(other !== undefined && { other }),
    },
  }
}
