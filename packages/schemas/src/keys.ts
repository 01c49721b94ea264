/** Names of all keys that customer-stream uses in Redis. */

export const DEFAULT_KEY_PREFIX = 'mykaarma:'

/**
 * Number of the hash layout. The setting `PROJECTION_VERSION` overrides this number. A projector
 * with a new number starts at the beginning of the topic and rewrites every hash.
 */
export const PROJECTION_VERSION = 1

/**
 * Returns an id in the form that it has in the keys of a customer or dealer. On Redis Cluster only
 * the text from the first `{` to the next `}` selects the slot. If this text is empty, the whole
 * key selects the slot, and keys of one id would be in different slots. So an id that begins with
 * `}` has another form, `{_}<id>:`. Keys of customers in the usual form end with `}`, and keys in
 * this form end with `:`. So no two ids have the same key.
 */
const tagged = (id: string): string => (id.startsWith('}') ? `{_}${id}:` : `{${id}}`)

/** Returns the key of a customer's hash. */
export const customerKey = (customerUuid: string, prefix: string = DEFAULT_KEY_PREFIX): string =>
  `${prefix}customer:${tagged(customerUuid)}`

/** Returns the customerUuid of a key that {@link customerKey} returned for this prefix. */
export const customerUuidOf = (key: string, prefix: string = DEFAULT_KEY_PREFIX): string =>
  key.slice(`${prefix}customer:`.length + (key.endsWith('}') ? '{'.length : '{_}'.length), -1)

/**
 * Returns the key of the mark of an erased customer. The mark is a hash with the fields `scope` and
 * `erasedAt` of the {@link Erasure}. The mark is in the slot of the customer's hash.
 */
export const erasedKey = (customerUuid: string, prefix: string = DEFAULT_KEY_PREFIX): string =>
  `${prefix}erased:${tagged(customerUuid)}`

/** Returns the key of the hash of positions. Field: {@link positionField}. Value: next offset. */
export const positionsKey = (projection: number, prefix: string = DEFAULT_KEY_PREFIX): string =>
  `${prefix}positions:v${projection}`

/**
 * Hash tags of 16 slots of a Redis Cluster. The slots are 1024 apart, so a master with 1024
 * consecutive slots owns at least one of these slots.
 */
const POSITION_TAGS = [
  3560, 22069, 48576, 11467, 4129, 130, 1296, 41342, 8209, 3706, 2821, 48710, 356, 45971, 16248, 4782,
]

/**
 * Returns the keys of the hashes of positions on a Redis Cluster. Each hash has all positions, so
 * each master has a copy. A single master can be emptied or restored from an old backup. So the
 * position of a partition is the lowest of its copies. If a master lacks the position, the
 * partition counts as not applied.
 */
export const clusterPositionsKeys = (projection: number, prefix: string = DEFAULT_KEY_PREFIX): readonly string[] =>
  POSITION_TAGS.map((tag) => `${positionsKey(projection, prefix)}:{${tag}}`)

/** Returns the field of a partition in the hash of positions. */
export const positionField = (topic: string, partition: number): string => `${topic}/${partition}`

/**
 * Returns the key of the hash with the differences between the vendor's events and its
 * documentation. Field: `driftField`. Value: `driftValue`.
 */
export const driftKey = (prefix: string = DEFAULT_KEY_PREFIX): string => `${prefix}drift`

/**
 * Returns the key of a Redis string with the number of a dealer's events in each hour of a week,
 * see `eventCountPlace`.
 */
export const eventCountsKey = (dealerUuid: string, week: number, prefix: string = DEFAULT_KEY_PREFIX): string =>
  `${prefix}dealer:${tagged(dealerUuid)}:${week}:events`

/**
 * Returns the key of the HyperLogLog with the ids of a dealer's events in an hour. The key is in
 * the same slot as {@link eventCountsKey}.
 */
export const eventIdsKey = (dealerUuid: string, hour: number, prefix: string = DEFAULT_KEY_PREFIX): string =>
  `${prefix}dealer:${tagged(dealerUuid)}:${hour}:ids`
