/**
 * Reads the hash of one customer from Redis and its document from the state topic, and compares
 * them.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { unlessAborted } from '@customer-stream/runtime'
import {
  attributed,
  createPartitionReader,
  type FetchedRecord,
  fetchEnds,
  type PartitionEnds,
  readTopic,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import { compareVersions, type Erasure, isErased, type Version } from '@customer-stream/schemas'
import { differingFields, readStateDocument } from '@customer-stream/verify'

/** Mark of an erased customer. `erasedAt`: Unix milliseconds. */
export type Erased = Pick<Erasure, 'scope' | 'erasedAt'>

type Hash = Readonly<Record<string, string>>

/**
 * Document of the state topic, compared with the hash:
 * - `equal`: both have the same fields.
 * - `differs`: both come from the same event, but the fields named in `fields` differ.
 * - `older`, `newer`: the document comes from an older or a newer event than the hash.
 * - `missing`: the topic has no document, a tombstone, or a document that cannot be read.
 * - `no-hash`: the topic has a document, and Redis has no hash.
 */
export type Agreement = 'equal' | 'differs' | 'older' | 'newer' | 'missing' | 'no-hash'

export interface ShownState {
  /** `topic/partition/offset` of the customer's last record. Null if there is none. */
  readonly place: string | null
  readonly kind: 'document' | 'tombstone' | 'unusable' | 'none'
  readonly version: Version | null
  /** Null if Redis has no hash and the topic has no document. */
  readonly agreement: Agreement | null
  /** Names of the fields that differ. */
  readonly fields: readonly string[]
}

export interface ShownCustomer {
  readonly customerUuid: string
  /** False if neither Redis nor the state topic has anything of the customer. */
  readonly isKnown: boolean
  /** False if the document does not agree with the hash, or if an erased customer has a hash. */
  readonly isSound: boolean
  readonly key: string
  readonly hash: Hash | null
  readonly version: Version | null
  /** Raw record of the hash. Null if there is no hash. */
  readonly source: { readonly place: string; readonly isInKafka: boolean } | null
  readonly erased: Erased | null
  /** Null if the state topic is switched off. */
  readonly state: ShownState | null
}

export interface CustomerPlaces {
  readonly customerUuid: string
  /** Key of the hash. */
  readonly key: string
  /** The raw topic. */
  readonly topic: string
  readonly erased: Erased | undefined
  /** The state topic and the end of the customer's partition. Undefined if it is switched off. */
  readonly state:
    | {
        readonly topic: string
        readonly end: PartitionEnds
        readonly onProgress: (read: number, total: number) => void
      }
    | undefined
}

export interface CustomerSources {
  readonly admin: TopicAdmin
  readonly readHash: () => Promise<Hash>
  readonly signal: AbortSignal
}

/** Maximum time between the write of a hash and the publication of its document. */
const PUBLISH_MS = 2000

const versionOf = ({ _eventId: id, _eventTimestamp: timestamp }: Hash): Version | null =>
  id === undefined || timestamp === undefined ? null : { timestamp: Number(timestamp), id }

/** Returns true if Kafka still has the record at `place` (`topic/partition/offset`). */
const isInKafka = async (admin: TopicAdmin, topic: string, place: string): Promise<boolean> => {
  const [, partition, offset] = /^\/(\d{1,9})\/(\d{1,19})$/.exec(place.slice(topic.length)) ?? []
  if (!place.startsWith(topic) || partition === undefined || offset === undefined) return false
  const fetchRecord = () =>
    createPartitionReader(admin, topic).fetch(Number(partition), offset, String(BigInt(offset) + 1n))
  const { records } = await attributed(`read topic ${topic}`, fetchRecord)
  return records[0]?.offset === offset
}

type LastRecord = Pick<FetchedRecord, 'offset' | 'value'>

const compare = (hash: Hash, last: LastRecord | undefined, place: string, customerUuid: string): ShownState => {
  const hasHash = Object.keys(hash).length > 0
  const without = (kind: ShownState['kind']): ShownState => ({
    place: last ? place : null,
    kind,
    version: null,
    agreement: hasHash ? 'missing' : null,
    fields: [],
  })
  if (last === undefined) return without('none')
  if (last.value === null) return without('tombstone')
  const document = readStateDocument(last.value, customerUuid)
  if (document === undefined) return without('unusable')
  const { timestamp, id } = document
  const found = { place, kind: 'document', version: { timestamp, id }, fields: [] } as const
  const stored = versionOf(hash)
  if (!hasHash) return { ...found, agreement: 'no-hash' }
  const order = stored ? compareVersions(found.version, stored) : 0
  if (order !== 0) return { ...found, agreement: order < 0 ? 'older' : 'newer' }
  const fields = differingFields(hash, document)
  return { ...found, agreement: fields.length === 0 ? 'equal' : 'differs', fields }
}

const isSound = (hash: Hash, state: ShownState | undefined, erased: Erased | undefined): boolean => {
  const version = versionOf(hash)
  if (erased && version && isErased(erased, version)) return false
  return state === undefined || state.agreement === 'equal' || (state.agreement === null && erased !== undefined)
}

/**
 * Reads the state topic before Redis, because the projector writes to Redis before the state topic.
 */
const readOnce = async ({ admin, readHash, signal }: CustomerSources, { customerUuid, state }: CustomerPlaces) => {
  let last: LastRecord | undefined
  const key = Buffer.from(customerUuid)
  if (state)
    await readTopic(
      admin,
      state.topic,
      ({ key: found, offset, value }) => {
        if (found && key.equals(found)) last = { offset, value }
      },
      { ends: [state.end], onUnreadable: () => {}, onProgress: state.onProgress, signal },
    )
  const hash = await readHash()
  const place = state && last ? `${state.topic}/${state.end.partition}/${last.offset}` : ''
  return { hash, state: state && compare(hash, last, place, customerUuid) }
}

export const readShownCustomer = async (sources: CustomerSources, places: CustomerPlaces): Promise<ShownCustomer> => {
  const { customerUuid, key, topic, erased } = places
  let read = await readOnce(sources, places)
  const isKnown = Object.keys(read.hash).length > 0 || erased !== undefined || (read.state?.kind ?? 'none') !== 'none'
  if (isKnown && !isSound(read.hash, read.state, erased)) {
    // The difference may be temporary, because the projector may be about to publish the document
    // or to write the hash.
    await unlessAborted(sleep(PUBLISH_MS), sources.signal)
    read = await readOnce(sources, await withNewEnd(sources.admin, places))
  }
  const { hash, state } = read
  const source = hash._source
  return {
    customerUuid,
    isKnown,
    isSound: isSound(hash, state, erased),
    key,
    hash: Object.keys(hash).length > 0 ? hash : null,
    version: versionOf(hash),
    source: source === undefined ? null : { place: source, isInKafka: await isInKafka(sources.admin, topic, source) },
    erased: erased ?? null,
    state: state ?? null,
  }
}

const withNewEnd = async (admin: TopicAdmin, places: CustomerPlaces): Promise<CustomerPlaces> => {
  const { state } = places
  if (state === undefined) return places
  const ends = await fetchEnds(admin, state.topic)
  const end = ends.find(({ partition }) => partition === state.end.partition)
  return end === undefined ? places : { ...places, state: { ...state, end } }
}
