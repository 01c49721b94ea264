import { contentOf, type Digest, type Evidence, type Expected } from './evidence.ts'

/** Offsets of a partition of the raw topic that were read: ≥ `start` and < `end`. */
export interface ReadRange {
  readonly start: bigint
  readonly end: bigint
}

export interface Comparison {
  readonly evidence: Pick<Evidence, 'hasContent' | 'copyAt'>
  readonly topic: string
  readonly ranges: ReadonlyMap<number, ReadRange>
  /** Returns the current end offset of a partition in Kafka. */
  readonly endNow: (partition: number) => bigint
  readonly projection: number
  readonly maxFutureMs: number
  readonly now: number
}

/**
 * Result of a comparison. `newer`: the record of the hash was not read, so only the version of the
 * hash was compared.
 */
export type Finding = 'equal' | 'newer' | { readonly wrong: string }

const wrong = (reason: string): Finding => ({ wrong: reason })

/** Parses `topic/partition/offset`. Returns undefined for another topic or another format. */
export const readSource = (
  source: string | undefined,
  topic: string,
): { partition: number; offset: bigint } | undefined => {
  const [, partition, offset] =
    /^\/(\d{1,9})\/(\d{1,19})$/.exec(source?.startsWith(topic) ? source.slice(topic.length) : '') ?? []
  return partition === undefined || offset === undefined
    ? undefined
    : { partition: Number(partition), offset: BigInt(offset) }
}

/**
 * Looks for the source of a hash in the raw topic. `unread`: the record exists and was not read.
 * `nowhere`: no such record can exist.
 */
export const placeOf = (
  source: string | undefined,
  { topic, ranges, endNow }: Pick<Comparison, 'topic' | 'ranges' | 'endNow'>,
): 'read' | 'unread' | 'nowhere' => {
  const place = readSource(source, topic)
  const range = place && ranges.get(place.partition)
  if (place === undefined || range === undefined || place.offset >= endNow(place.partition)) return 'nowhere'
  return place.offset >= range.start && place.offset < range.end ? 'read' : 'unread'
}

const compareMetadata = (
  expected: Expected,
  hash: Readonly<Record<string, string>>,
  content: Digest,
  comparison: Comparison,
): Finding => {
  const { evidence, topic, projection, maxFutureMs, now } = comparison
  const place = placeOf(hash._source, comparison)
  const copy =
    place === 'read' ? evidence.copyAt(expected.customerUuid, hash._source?.slice(topic.length + 1) ?? '') : undefined
  if (place === 'nowhere' || (place === 'read' && (copy === undefined || Buffer.compare(copy.content, content) !== 0)))
    return wrong('has a _source that is not a record of its newest event')
  const receivedAt = Number(hash._receivedAt)
  if (copy !== undefined && hash._receivedAt !== String(copy.receivedAt))
    return wrong('has a _receivedAt that differs from its record')
  // This limit is wide, because the clocks of two machines may differ. A time in a wrong unit, or
  // of another field, exceeds the limit.
  const appliedAt = Number(hash._appliedAt)
  if (!/^\d+$/.test(hash._appliedAt ?? '') || appliedAt < receivedAt - maxFutureMs || appliedAt > now + maxFutureMs)
    return wrong('has no valid _appliedAt')
  if (!/^\d+$/.test(hash._projection ?? '') || Number(hash._projection) < projection)
    return wrong('has a hash of an older projection')
  return 'equal'
}

/** Compares one customer's hash, as HGETALL returns it, with the newest event that was read. */
export const compareHash = (
  expected: Expected,
  hash: Readonly<Record<string, string>>,
  comparison: Comparison,
): Finding => {
  if (Object.keys(hash).length === 0) return wrong('is missing in Redis')
  const { _eventId: id = '', _eventTimestamp: timestamp = '' } = hash
  if (id === '' || !/^\d{1,16}$/.test(timestamp)) return wrong('has a key in Redis that is not a customer hash')
  const order = Number(timestamp) - expected.timestamp || Buffer.compare(Buffer.from(id), Buffer.from(expected.id))
  if (order < 0) return wrong('has a hash in Redis that is older than its newest event')
  if (order > 0 && placeOf(hash._source, comparison) === 'unread') return 'newer'
  if (order > 0) return wrong('has a hash in Redis that is newer than its events in Kafka')
  const content = contentOf(Object.entries(hash))
  if (!comparison.evidence.hasContent(expected.customerUuid, content))
    return wrong('has a hash whose fields differ from its newest event')
  return compareMetadata(expected, hash, content, comparison)
}
