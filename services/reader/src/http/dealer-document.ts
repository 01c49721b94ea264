/** A dealer as `GET /v1/dealers` returns it. */
import type { DealerState } from '@customer-stream/schemas'
import { type Static, Type } from '@sinclair/typebox'

const UnixMs = (description: string) => Type.Integer({ description: `${description} Unix milliseconds.` })

export const DealerDocument = Type.Object(
  {
    dealerUuid: Type.String(),
    state: Type.Unsafe<DealerState>({
      enum: ['active', 'silent', 'gone', 'new'],
      description:
        '`silent`: no event for longer than is usual for this dealer at this time of the week. `gone`: no event for ' +
        'four weeks. `new`: known for less than two whole weeks, so the usual pauses are not known yet.',
    }),
    customers: Type.Union([Type.Integer(), Type.Null()], {
      description: 'Customers in the index `dealer`. Null if Redis has no such index, or is being filled.',
    }),
    lastEventAt: UnixMs('Time of receipt of the last event.'),
    silentSince: Type.Union([UnixMs('Time of the last event of a silent dealer.'), Type.Null()], {
      description: 'Null if the dealer is not silent.',
    }),
    eventsByHour: Type.Array(Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]), {
      minItems: 24,
      maxItems: 24,
      description:
        'Events of each hour of the last day, by their time of receipt, oldest first. The last hour is the current ' +
        'hour. An event that was delivered more than once counts once. The error is about 1 %. Null: not known, for ' +
        'example because Redis was emptied since then.',
    }),
    usualEventsByHour: Type.Array(Type.Union([Type.Number({ minimum: 0 }), Type.Null()]), {
      minItems: 24,
      maxItems: 24,
      description: 'Average of the same hours in up to five earlier weeks. Null: not known.',
    }),
    lastDay: Type.Array(Type.Integer({ minimum: 0, maximum: 12 }), {
      minItems: 24,
      maxItems: 24,
      description:
        'For each hour of the last day, oldest first: the number of five-minute slots with events, 0 to 12. ' +
        'The last hour is the current hour.',
    }),
    usualDay: Type.Array(Type.Number({ minimum: 0, maximum: 12 }), {
      minItems: 24,
      maxItems: 24,
      description: 'The rhythm: the average of the same hours in up to five earlier weeks.',
    }),
  },
  { description: 'The activity of a dealer.' },
)
export type DealerDocument = Static<typeof DealerDocument>
