/** The history of a customer as the reader returns it. */
import { CustomerState } from '@customer-stream/schemas'
import { type Static, Type } from '@sinclair/typebox'
import { OUTCOMES } from '../customer-events.ts'
import { ChangeDocument } from './customer-document.ts'

const { version, source, receivedAt } = CustomerState.properties

export const EventDocument = Type.Object({
  source,
  receivedAt,
  version: Type.Union([version, Type.Null()], { description: 'Null if the event has no valid version.' }),
  outcome: Type.Unsafe<(typeof OUTCOMES)[number] | null>({
    enum: [...OUTCOMES, null],
    description:
      '`applied`: the newest event when it was read. `older`: an earlier record has a newer event. `repeat`: an ' +
      'earlier record has the same event. `unusable`: it can never be applied. `waiting`: the projector has not ' +
      'read it yet. Null: not known, because earlier events were not read, or Redis does not have the customer.',
  }),
  isCurrent: Type.Boolean({ description: 'True if the customer in Redis is from this event.' }),
  reason: Type.Optional(Type.String({ description: 'Reason why the event is unusable.' })),
  document: Type.Optional(ChangeDocument),
  raw: Type.Optional(Type.String({ description: 'Body of the request, with `raw=1`.' })),
  rawIsUtf8: Type.Optional(Type.Boolean({ description: 'False if bytes of `raw` that are not UTF-8 were replaced.' })),
  contentType: Type.Optional(Type.String({ description: 'Content type that the sender declared, with `raw=1`.' })),
})
export type EventDocument = Static<typeof EventDocument>

export const EventsDocument = Type.Object({
  customerUuid: Type.String(),
  events: Type.Array(EventDocument, { description: 'The newest event first.' }),
  searched: Type.Object(
    {
      since: Type.Integer({ description: 'Unix milliseconds.' }),
      partition: Type.Integer(),
      from: Type.String({ description: 'Offset of the first record that was read.' }),
      end: Type.String({ description: 'Offset after the last record that was read.' }),
      isComplete: Type.Boolean({ description: 'False if events since `since` may be missing.' }),
    },
    { description: 'The records that the reader has read.' },
  ),
})
export type EventsDocument = Static<typeof EventsDocument>
