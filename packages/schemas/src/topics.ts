/**
 * Names of the topics to which the ingress writes, for one prefix (setting `KAFKA_TOPIC_PREFIX`).
 */
export interface TopicNames {
  /**
   * Authentic events of type `customers`. Key: customerUuid. Value: the bytes of the request body.
   */
  readonly customers: string
  /** Authentic events of all other types. Key: dealeruuid if present, otherwise the event's id. */
  readonly other: string
  /**
   * Quarantine (dead-letter topic): authentic bytes that could not be handled. The headers
   * ({@link QUARANTINE_HEADERS}) have the reason.
   */
  readonly quarantine: string
}

/** Prefix of all topics, unless a deployment sets `KAFKA_TOPIC_PREFIX`. */
export const DEFAULT_TOPIC_PREFIX = 'mykaarma.'

/** Returns the names of the topics with this prefix. The prefix ends with its own separator. */
export const topicNames = (prefix: string = DEFAULT_TOPIC_PREFIX): TopicNames => ({
  customers: `${prefix}customers.raw`,
  other: `${prefix}other.raw`,
  quarantine: `${prefix}quarantine`,
})

/**
 * Returns the name of the state topic, a compacted changelog of the current customers. Key:
 * customerUuid. Value: a state document ({@link CustomerState}), or no value (tombstone) if the
 * customer was erased. The topic has the partition count and the partitioner of `customers`. Only
 * the projector writes to this topic.
 */
export const stateTopicName = (prefix: string = DEFAULT_TOPIC_PREFIX): string => `${prefix}customers.state`

/**
 * Returns the name of the erasures topic, which is compacted. Key: customerUuid. Value: an
 * {@link Erasure}. The topic has the partition count and the partitioner of `customers`.
 */
export const erasuresTopicName = (prefix: string = DEFAULT_TOPIC_PREFIX): string => `${prefix}customers.erasures`

/**
 * Returns the name of the audit topic of quarantine. The topic has one record for each quarantined
 * record that an operator has redriven or dropped. Only the command `quarantine` writes and reads
 * this topic.
 */
export const quarantineAuditTopicName = (prefix: string = DEFAULT_TOPIC_PREFIX): string => `${prefix}quarantine.audit`

/** Headers of a raw record. */
export const RAW_HEADERS = {
  /**
   * The request header `mykaarma-signature-token`. Absent if authentication was off and the request
   * did not have this header.
   */
  signature: 'signature',
  /**
   * Content type of the body, which {@link parseEvent} needs for the charset. Absent if the content
   * type is `text/plain` or `application/json` in UTF-8.
   */
  contentType: 'content-type',
  /**
   * W3C trace context. If traces are on, this is the context of the ingress' span, otherwise the
   * context of the request. Absent if traces are off and the request has no trace context.
   */
  traceparent: 'traceparent',
  /** Second part of the trace context. Absent if the request did not have this header. */
  tracestate: 'tracestate',
} as const

/** Headers of a quarantined record. */
export const QUARANTINE_HEADERS = {
  /** Stable, machine-readable name of the reason. */
  reason: 'reason',
  /** Service that wrote the record: `ingress` or `projector`. */
  stage: 'stage',
  /** One sentence for people. */
  detail: 'detail',
  /**
   * Projector: the topic from which it read the record. Ingress: the topic that refused the record.
   */
  topic: 'topic',
  /** Set by the projector only. */
  partition: 'partition',
  offset: 'offset',
} as const
