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
      '`applied`: it was the newest event. `older` and `repeat`: an event before it is newer, or is the same. ' +
      '`unusable`: it can never be applied. `waiting`: not read yet. Null: not known, because earlier events were ' +
      'not read, or Redis does not have the customer.',
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
      isComplete: Type.Boolean({ description: 'False if older events since this time were left out.' }),
    },
    { description: 'How far the reader looked.' },
  ),
})
export type EventsDocument = Static<typeof EventsDocument>
