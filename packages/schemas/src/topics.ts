/**
 * Names of the topics that the ingress writes to, for one prefix (setting `KAFKA_TOPIC_PREFIX`).
 */
export interface TopicNames {
  /**
   * Authentic events of type `customers`. Key: customerUuid. Value: the bytes of the request body.
   */
  readonly customers: string
  /** Authentic events of all other types. Key: dealeruuid if present, otherwise the event's id. */
  readonly other: string
  /**
   * Quarantine (dead-letter topic): authentic bytes that could not be handled. {@link
   * QUARANTINE_HEADERS} has the reason.
   */
  readonly quarantine: string
}

export const DEFAULT_TOPIC_PREFIX = 'mykaarma.'

export const topicNames = (prefix: string = DEFAULT_TOPIC_PREFIX): TopicNames => ({
  customers: `${prefix}customers.raw`,
  other: `${prefix}other.raw`,
  quarantine: `${prefix}quarantine`,
})

/**
 * Returns the name of the state topic, a compacted changelog of the current customers. Key:
 * customerUuid. Value: a state document ({@link CustomerState}), or none (tombstone) if the
 * customer was erased. It has the partition count and the partitioner of `customers`. The projector
 * alone writes to it.
 */
export const stateTopicName = (prefix: string = DEFAULT_TOPIC_PREFIX): string => `${prefix}customers.state`

/**
 * Returns the name of the erasures topic, which is compacted. Key: customerUuid. Value: an {@link
 * Erasure}. It has the partition count and the partitioner of `customers`.
 */
export const erasuresTopicName = (prefix: string = DEFAULT_TOPIC_PREFIX): string => `${prefix}customers.erasures`

/** Headers of a raw record. */
export const RAW_HEADERS = {
  /**
   * `mykaarma-signature-token` as delivered. Absent if authentication was off and the sender gave
   * none.
   */
  signature: 'signature',
  /**
   * Content type of the body, unless it is `text/plain` or `application/json` in UTF-8. {@link
   * parseEvent} needs the charset.
   */
  contentType: 'content-type',
  /** W3C trace context of the request, if it had one. */
  traceparent: 'traceparent',
} as const

/** Headers of a quarantined record. */
export const QUARANTINE_HEADERS = {
  /** Stable, machine-readable name of the reason. */
  reason: 'reason',
  /** Service that wrote the record: `ingress` or `projector`. */
  stage: 'stage',
  /** One sentence for people. */
  detail: 'detail',
  /** Topic that the projector read the record from, or that refused the record of the ingress. */
  topic: 'topic',
  /** Set by the projector only. */
  partition: 'partition',
  offset: 'offset',
} as const
