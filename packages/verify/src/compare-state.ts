/** Compares the last record of each customer in the state topic with the newest event. */
import { partitionOfKey } from '@customer-stream/schemas/partitioner'
import { type Comparison, placeOf } from './compare-hash.ts'
import type { Evidence, Expected } from './evidence.ts'
import { readStateDocument } from './read-event.ts'

/** A record of the state topic. */
export interface StateRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly partition: number
}

/** Adds a record of the state topic to the evidence. `partitions`: partition count of the topic. */
export const noteState = (
  evidence: Pick<Evidence, 'state' | 'wrong' | 'unrepairable'>,
  { key, value, partition }: StateRecord,
  partitions: number,
): void => {
  const customerUuid = key?.toString() ?? ''
  const isInPlace = key !== null && partitionOfKey(key, partitions) === partition
  const document = value === null ? null : readStateDocument(value, customerUuid)
  // A repair would publish the document in the right partition, but would not remove this record.
  if (!isInPlace) evidence.unrepairable(customerUuid, 'has a record in a wrong partition of the state topic')
  else if (document === undefined)
    evidence.wrong(customerUuid, 'has a record in the state topic that is not a document')
  else evidence.state(customerUuid, document)
}

export interface StateComparison extends Pick<Comparison, 'topic' | 'ranges' | 'endNow'> {
  /** True if no event has arrived since the customers topic was read. */
  readonly exact: boolean
}

/** Compares one customer. Returns the problem, or undefined. */
export const compareState = (
  { customerUuid, timestamp, id }: Expected,
  evidence: Pick<Evidence, 'lastState' | 'hasContent' | 'copyAt'>,
  comparison: StateComparison,
): string | undefined => {
  const { topic, exact } = comparison
  const last = evidence.lastState(customerUuid)
  if (last === undefined) return 'is missing in the state topic'
  if (last === null) return 'is erased in the state topic'
  const order = last.timestamp - timestamp || Buffer.compare(Buffer.from(last.id), Buffer.from(id))
  if (order < 0) return 'has a document in the state topic that is older than its newest event'
  if (order > 0) return exact ? 'has a document in the state topic that is newer than its events in Kafka' : undefined
  if (!evidence.hasContent(customerUuid, last.content))
    return 'has a document in the state topic that differs from its newest event'
  const place = last.source.startsWith(`${topic}/`) ? last.source.slice(topic.length + 1) : ''
  const copy = evidence.copyAt(customerUuid, place)
  // The projector publishes a repeat of the newest event too. The repeat may have arrived after
  // the customers topic was read.
  if (copy === undefined && placeOf(last.source, comparison) === 'unread') return undefined
  if (copy === undefined) return 'has a source in the state topic that is not a record of its newest event'
  return copy.receivedAt === last.receivedAt
    ? undefined
    : 'has a receivedAt in the state topic that differs from its record'
}
