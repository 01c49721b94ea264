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

export const positionField = (topic: string, partition: number): string => `${topic}/${partition}`
