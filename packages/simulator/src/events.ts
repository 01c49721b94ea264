import { Random, randomSeed } from './random.ts'
import { type JsonObject, makeSnapshot } from './snapshot.ts'

/** Event for delivery: the body, and the ids for the ledger. */
export interface MadeEvent {
  readonly id: string
  readonly timestamp: number
  readonly type: string
  readonly customerUuid: string | null
  readonly body: string
}

export interface MadeCustomersEvent extends MadeEvent {
  readonly customerUuid: string
  /** The payload as an object, even if the body has it as a string. */
  readonly payload: { readonly customerWithVehicles: JsonObject & { readonly customer: JsonObject } }
}

export interface CustomersEventOverrides {
  readonly id?: string
  readonly timestamp?: number
  readonly customerUuid?: string
  readonly dealeruuid?: string
  readonly departmentuuid?: string
  /** Fields that replace fields of the generated customer. `undefined` removes a field. */
  readonly customer?: JsonObject
  readonly vehicles?: unknown[] | null
  readonly addresses?: unknown[] | null
  /**
   * Place of the addresses: `beside` the customer as in the vendor's event sample (default), or
   * `inside` the customer as in the vendor's API schema.
   */
  readonly addressesStand?: 'beside' | 'inside'
  /** Form of the payload. Default: a JSON string, as the vendor documents. */
  readonly payloadForm?: 'string' | 'object'
  /**
   * If true, the envelope is the legacy envelope: `dataType` and `eventType` in place of `type`.
   */
  readonly legacy?: boolean
}

export interface CustomersEventSource {
  /** Random numbers for the fields that are the same in all events of one customer. */
  readonly persona?: Random
  /** Random numbers for the fields that this event changes. */
  readonly change?: Random
  /** Number of the customer's snapshot. Successive snapshots always differ. */
  readonly version?: number
}

/**
 * Creates a complete, realistic customers event. Random values fill all options that are not given.
 */
export function makeCustomersEvent(
  overrides: CustomersEventOverrides = {},
  source: CustomersEventSource = {},
): MadeCustomersEvent {
  const { persona = new Random(randomSeed()), change = new Random(randomSeed()), version = 1 } = source
  const customerUuid = overrides.customerUuid ?? persona.opaqueId()
  const made = makeSnapshot(customerUuid, version, persona, change)
  const {
    id = change.uuid(),
    timestamp = Date.now(),
    dealeruuid = change.hex(63),
    departmentuuid = change.hex(63),
  } = overrides
  const { vehicles = made.vehicles, addresses = made.addresses } = overrides
  const customer = { ...made.customer, ...overrides.customer }
  const payload = {
    customerWithVehicles:
      overrides.addressesStand === 'inside'
        ? { customer: { ...customer, addresses }, vehicles }
        : { customer, vehicles, addresses },
  }
  const body = JSON.stringify({
    id,
    timestamp,
    dealeruuid,
    departmentuuid,
    ...(overrides.legacy ? { dataType: 'customers', eventType: 'pointInTime' } : { type: 'customers' }),
    payload: overrides.payloadForm === 'object' ? payload : JSON.stringify(payload),
  })
  return { id, timestamp, type: 'customers', customerUuid, body, payload }
}

export const OTHER_TYPES = ['appointments', 'service-orders', 'mpis', 'messages'] as const

/** Creates an event of another type. The payload is short, because no test reads it. */
export function makeOtherEvent(
  overrides: Partial<Pick<MadeEvent, 'id' | 'timestamp' | 'type'>> = {},
  random = new Random(randomSeed()),
): MadeEvent {
  const { id = random.uuid(), timestamp = Date.now(), type = random.pick(OTHER_TYPES) } = overrides
  const uuid = random.opaqueId()
  const payloads: Record<string, unknown> = {
    appointments: {
      uuid,
      event: random.pick(['CREATED', 'RESCHEDULED', 'UPDATED']),
      appointmentInfoResponse: { uuid, isCancelled: false },
    },
    'service-orders': {
      uuid,
      order: {
        type: 'RO',
        header: { orderNumber: `RO${random.digits(6)}`, status: 'C', dmsStatus: 'O', tagNumber: 'T205' },
      },
    },
    mpis: { uuid, type: 'FULL_MPI', status: 'Working - MPI & Diag.', version: random.below(9), recommendedTotal: 0 },
    messages: {
      dealerOrderUuid: uuid,
      isUpdate: false,
      messageDTO: { uuid: random.opaqueId(), messageType: 'S', protocol: 'X' },
    },
  }
  const payload = JSON.stringify(payloads[type] ?? { uuid })
  const body = JSON.stringify({
    id,
    timestamp,
    dealeruuid: random.hex(63),
    departmentuuid: random.hex(63),
    type,
    payload,
  })
  return { id, timestamp, type, customerUuid: null, body }
}
