/** Names of the topics, for one prefix (setting `KAFKA_TOPIC_PREFIX`). */
export interface TopicNames {
  /** Every authentic event of type `customers`: key = customerUuid, value = the request body, byte for byte. */
  readonly customers: string
  /** Every authentic event of another type: key = dealeruuid, else the event's id. */
  readonly other: string
  /** Authentic bytes that could not be handled; why is in the headers {@link QUARANTINE_HEADERS}. */
  readonly quarantine: string
}

export const DEFAULT_TOPIC_PREFIX = 'mykaarma.'

export const topicNames = (prefix: string = DEFAULT_TOPIC_PREFIX): TopicNames => ({
  customers: `${prefix}customers.raw`,
  other: `${prefix}other.raw`,
  quarantine: `${prefix}quarantine`,
})

/** Headers of a raw record. */
export const RAW_HEADERS = {
  /** `mykaarma-signature-token` as delivered; absent when the sender gave none and authentication was off. */
  signature: 'signature',
  /** Content type of the body, if it is not `text/plain` or `application/json` in UTF-8. {@link parseEvent} needs its charset. */
  contentType: 'content-type',
  /** W3C trace context, when the request carried one. */
  traceparent: 'traceparent',
} as const

/** Headers of a quarantined record. */
export const QUARANTINE_HEADERS = {
  /** Stable, machine-readable name of what is wrong. */
  reason: 'reason',
  /** Which process put it there: `ingress` or `projector`. */
  stage: 'stage',
  /** One sentence for people. */
  detail: 'detail',
  /** Where the projector read the record, or Kafka refused to take it from the ingress. */
  topic: 'topic',
  /** From the projector only. */
  partition: 'partition',
  offset: 'offset',
} as const
