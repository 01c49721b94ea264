/** Names of all keys that customer-stream uses in Redis. */

export const DEFAULT_KEY_PREFIX = 'mykaarma:'

/**
 * Number of the hash layout; the setting `PROJECTION_VERSION` overrides it. A projector with a
 * greater number than the stored one starts at the beginning of the topic and rewrites every hash.
 */
export const PROJECTION_VERSION = 1

/**
 * Key of one customer's hash. The braces make the uuid the Redis Cluster hash tag, so only the uuid
 * selects the slot.
 */
export const customerKey = (customerUuid: string, prefix: string = DEFAULT_KEY_PREFIX): string =>
  `${prefix}customer:{${customerUuid}}`

/**
 * Key of the hash that marks an erased customer. It has the fields `scope` and `erasedAt` of the
 * {@link Erasure}, and is in the slot of the customer's hash.
 */
export const erasedKey = (customerUuid: string, prefix: string = DEFAULT_KEY_PREFIX): string =>
  `${prefix}erased:{${customerUuid}}`

/** Key of the hash of positions. Field: {@link positionField}. Value: the next offset to apply. */
export const positionsKey = (projection: number, prefix: string = DEFAULT_KEY_PREFIX): string =>
  `${prefix}positions:v${projection}`

/**
 * One hash tag for each 1024 slots of a Redis Cluster. A master with 1024 consecutive slots owns at
 * least one of them.
 */
const POSITION_TAGS = [
  3560, 22069, 48576, 11467, 4129, 130, 1296, 41342, 8209, 3706, 2821, 48710, 356, 45971, 16248, 4782,
]

/**
 * Keys of the hashes of positions on a Redis Cluster. Each hash has all positions, so each master
 * has its own copy. Because a single master can be emptied or restored from an old backup, the
 * lowest position of all copies counts. If a copy has no position, the partition counts as not
 * applied.
 */
export const clusterPositionsKeys = (projection: number, prefix: string = DEFAULT_KEY_PREFIX): readonly string[] =>
  POSITION_TAGS.map((tag) => `${positionsKey(projection, prefix)}:{${tag}}`)

export const positionField = (topic: string, partition: number): string => `${topic}/${partition}`
