/** Names of the keys in Redis. Every key of customer-stream is made here. */

export const DEFAULT_KEY_PREFIX = 'mykaarma:'

/**
 * Number of the hash layout. A projector with a greater number than the stored one (setting `PROJECTION_VERSION`) begins at the start of the topic and
 * writes every hash anew.
 */
export const PROJECTION_VERSION = 1

/** The hash of one customer. The braces make the uuid the Redis Cluster hash tag, so that the key's slot follows from the customer alone. */
export const customerKey = (customerUuid: string, prefix: string = DEFAULT_KEY_PREFIX): string => `${prefix}customer:{${customerUuid}}`

/** The hash that says how far this projection has been filled: field {@link positionField}, value the next offset to apply. */
export const positionsKey = (projection: number, prefix: string = DEFAULT_KEY_PREFIX): string => `${prefix}positions:v${projection}`

/** One hash tag in every 1024th slot of a Redis Cluster, so that a master with 1024 slots in a row owns at least one. */
const POSITION_TAGS = [3560, 22069, 48576, 11467, 4129, 130, 1296, 41342, 8209, 3706, 2821, 48710, 356, 45971, 16248, 4782]

/**
 * On a Redis Cluster the positions are kept once in each of these hashes, so that every master knows how far it has been filled itself: each can be emptied
 * or set back without the others. Filled is what the lowest of them says; where one has no position, nothing is.
 */
export const clusterPositionsKeys = (projection: number, prefix: string = DEFAULT_KEY_PREFIX): readonly string[] =>
  POSITION_TAGS.map((tag) => `${positionsKey(projection, prefix)}:{${tag}}`)

export const positionField = (topic: string, partition: number): string => `${topic}/${partition}`
