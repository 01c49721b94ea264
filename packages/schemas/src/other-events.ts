/**
 * Payload schemas of the event types other than `customers`, as far as the vendor documents them.
 * customer-stream stores these events and does not read their payloads. The schemas are for
 * subscribers. Each field may be missing or null, and unknown fields are kept.
 */
import { type Static, type TSchema, Type } from '@sinclair/typebox'

const Maybe = <T extends TSchema>(schema: T) => Type.Optional(Type.Union([schema, Type.Null()]))
const Text = Maybe(Type.String())
const Flag = Maybe(Type.Boolean())

export const AppointmentsPayload = Type.Object({
  uuid: Text,
  departmentUuid: Text,
  event: Maybe(Type.String({ description: 'CREATED, RESCHEDULED, UPDATED, …' })),
  eventCreationDateTime: Maybe(Type.Unknown()),
  appointmentInfoResponse: Maybe(
    Type.Object({
      uuid: Text,
      status: Text,
      newStatus: Text,
      isCancelled: Flag,
      dealerUuid: Text,
      customerInformation: Maybe(
        Type.Object({ uuid: Text, firstName: Text, lastName: Text, company: Text, customerKey: Text }),
      ),
    }),
  ),
})
export type AppointmentsPayload = Static<typeof AppointmentsPayload>

export const ServiceOrdersPayload = Type.Object({
  uuid: Text,
  order: Maybe(
    Type.Object({
      type: Text,
      header: Maybe(
        Type.Object({ orderNumber: Text, status: Text, dmsStatus: Text, isInternal: Flag, isVoided: Flag }),
      ),
      vehicle: Maybe(Type.Object({ uuid: Text, key: Text, vin: Text })),
      customer: Maybe(Type.Object({ uuid: Text })),
    }),
  ),
})
export type ServiceOrdersPayload = Static<typeof ServiceOrdersPayload>

export const MpisPayload = Type.Object({
  uuid: Text,
  type: Text,
  status: Text,
  // The vendor sends ISO text without a zone today, and has announced Unix milliseconds.
  createdOn: Maybe(Type.Union([Type.String(), Type.Number()])),
  updatedOn: Maybe(Type.Union([Type.String(), Type.Number()])),
  version: Maybe(Type.Number()),
  vehicleIdentifiers: Maybe(Type.Object({ vehicleUUID: Text, vin: Text })),
  orderIdentifiers: Maybe(Type.Object({ orderUUID: Text, orderNumber: Text })),
  customerIdentifiers: Maybe(Type.Object({ customerUUID: Text })),
})
export type MpisPayload = Static<typeof MpisPayload>

export const MessagesPayload = Type.Object({
  dealerOrderUuid: Text,
  isUpdate: Flag,
  messageDTO: Maybe(
    Type.Object({ uuid: Text, id: Maybe(Type.Number()), messageType: Text, protocol: Text, customerUuid: Text }),
  ),
})
export type MessagesPayload = Static<typeof MessagesPayload>

/** Payload schema by event `type`. Events of unlisted types are stored too. */
export const otherPayloads = {
  appointments: AppointmentsPayload,
  'service-orders': ServiceOrdersPayload,
  mpis: MpisPayload,
  messages: MessagesPayload,
} as const satisfies Record<string, TSchema>
