/** The pipeline as `GET /v1/pipeline` returns it. An unknown value is null, never 0. */
import { CustomerState, type DifferenceKind } from '@customer-stream/schemas'
import { type Static, type TSchema, Type } from '@sinclair/typebox'

const OrNull = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const UnixMs = (description: string) => Type.Integer({ description: `${description} Unix milliseconds.` })
const Rate = (description: string) =>
  OrNull(Type.Number({ minimum: 0, description: `${description} Per second, averaged over a minute or less.` }))
const Offset = CustomerState.properties.source.properties.offset
const Counts = (description: string) => Type.Record(Type.String(), Type.Number({ minimum: 0 }), { description })

/** A point of the history. Its values are averages of the time since the previous point. */
export const PipelinePoint = Type.Object({
  at: UnixMs('Time of the measurement.'),
  receivedPerSecond: Rate('Requests of the sender at all ingresses.'),
  refusedPerSecond: Rate('Requests of the sender that were refused, 503 included.'),
  storedPerSecond: Rate('Events that Kafka stored.'),
  handledPerSecond: Rate('Events that the projectors handled, whatever the outcome.'),
  quarantinedPerSecond: Rate('Records that went to quarantine (the dead-letter topic).'),
  lag: OrNull(Type.Integer({ minimum: 0, description: 'Events in Kafka that no projector has handled yet.' })),
  freshnessP50Ms: OrNull(Type.Number({ description: 'See `freshness`.' })),
  freshnessP99Ms: OrNull(Type.Number({ description: 'See `freshness`.' })),
})
export type PipelinePoint = Static<typeof PipelinePoint>

const PartitionLag = Type.Object({
  partition: Type.Integer({ minimum: 0 }),
  position: OrNull(Offset),
  end: OrNull(Offset),
  records: OrNull(Type.Integer({ minimum: 0, description: 'Records from the position to the end.' })),
})

const DriftEntry = Type.Object({
  kind: Type.Unsafe<DifferenceKind>({ enum: ['unknown-field', 'other-type', 'new-value', 'large'] }),
  path: Type.String({
    description: 'Path of the field, for example `customer.emails[].label`. Contains no value of a field.',
  }),
  type: Type.String({ description: 'JSON type of the value.' }),
  firstAt: UnixMs('Receipt of the first such event.'),
  lastAt: UnixMs('Receipt of the last such event.'),
  events: Type.Integer({ description: 'Number of such events in the sample that projectors check.' }),
})

export const PipelineDocument = Type.Object(
  {
    checkedAt: UnixMs('Time of the last measurement.'),
    isWell: Type.Boolean({ description: 'True if `reasons` is empty.' }),
    summary: Type.String({ description: 'One sentence: whether all is well.' }),
    reasons: Type.Array(Type.String(), { description: 'One sentence for each problem, with the next step.' }),
    notices: Type.Array(Type.String(), {
      description: 'One sentence for each condition that a person should check, although it is not a problem.',
    }),
    rates: Type.Object({
      receivedPerSecond: Rate('Requests of the sender at all ingresses.'),
      storedPerSecond: Rate('Events that Kafka stored in the topic of customers.'),
      handledPerSecond: Rate('Events that the projectors handled, whatever the outcome.'),
    }),
    lastEventAt: OrNull(UnixMs('Receipt of the last event of any dealer.')),
    completeAsOf: OrNull(
      UnixMs('Redis has every event that Kafka had at this time. At most about 20 s ago if the projectors keep up.'),
    ),
    lag: Type.Object({
      records: OrNull(
        Type.Integer({ minimum: 0, description: 'Sum of the partitions. Null if one lag is not known.' }),
      ),
      partitions: Type.Array(PartitionLag),
    }),
    outcomes: OrNull(Counts('Handled records per second by outcome, averaged over a minute or less.')),
    quarantine: OrNull(
      Type.Object({
        records: Type.Integer({ minimum: 0, description: 'Offsets in quarantine.' }),
        open: Type.Integer({
          minimum: 0,
          description: 'Records that no operator has redriven or dropped. See `isCut`.',
        }),
        openByReason: Counts('Open records by reason.'),
        isCut: Type.Boolean({ description: 'True if only the newest records were counted.' }),
      }),
    ),
    freshness: Type.Object(
      {
        p50Ms: OrNull(Type.Number()),
        p99Ms: OrNull(Type.Number()),
      },
      {
        description:
          'Time from the receipt of an event until Redis has the event. Only the last event of each chunk of the ' +
          'last minute counts. Null if no event was handled.',
      },
    ),
    projection: Type.Object({
      version: Type.Integer({ description: 'PROJECTION_VERSION of the reader.' }),
      isFilled: OrNull(Type.Boolean({ description: 'False if Redis is being filled, or lacks positions.' })),
      fill: OrNull(
        Type.Object({
          partitions: Type.Integer(),
          records: Type.Integer({ description: 'Records of the state topic that are left to read.' }),
        }),
      ),
      indexes: OrNull(Type.Array(Type.String())),
      projectors: OrNull(Type.Integer({ description: 'Projectors that have reported in the last 30 s.' })),
    }),
    dealers: OrNull(Type.Object({ silent: Type.Integer(), known: Type.Integer() })),
    drift: OrNull(Type.Array(DriftEntry, { description: 'Differences from the documentation, the newest first.' })),
    sender: Type.Object({
      eventsAtRisk: OrNull(
        Type.Integer({
          minimum: 0,
          description:
            'Upper limit: events that got 503 in the last 24 hours and were not accepted later. Each ingress counts ' +
            'from its last start.',
        }),
      ),
      refusedPerSecond: Rate('Requests of the sender that were refused, 503 included.'),
    }),
    history: Type.Array(PipelinePoint, {
      maxItems: 360,
      description: 'The last hour of this process, oldest first, one point every 10 s.',
    }),
  },
  { description: 'The state of the pipeline. A value that is not known is null.' },
)
export type PipelineDocument = Static<typeof PipelineDocument>
