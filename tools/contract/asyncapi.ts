/** AsyncAPI 3 document of the topics, with keys, headers and policies. */
import {
  DEFAULT_TOPIC_PREFIX,
  erasuresTopicName,
  QUARANTINE_HEADERS,
  quarantineAuditTopicName,
  RAW_HEADERS,
  stateTopicName,
  topicNames,
} from '@customer-stream/schemas'
import { ERASURE_SCHEMA, EVENT_TYPES, type EventType, eventSchemaName, STATE_SCHEMA } from './json-schemas.ts'

const PREFIX = '{prefix}'
const WEEK_MS = 7 * 24 * 60 * 60 * 1000

/** `satisfies` makes the type check fail if a header has no description here. */
const rawHeaders = {
  [RAW_HEADERS.signature]: 'mykaarma-signature-token as delivered.',
  [RAW_HEADERS.contentType]:
    'Content type of the value, with its charset. Missing for text/plain and application/json in UTF-8.',
  [RAW_HEADERS.traceparent]:
    'W3C trace context of the request, if it had one. If traces are on: the context of the ingress’s span.',
  [RAW_HEADERS.tracestate]: 'Second part of the trace context, if the request had it.',
} satisfies Record<(typeof RAW_HEADERS)[keyof typeof RAW_HEADERS], string>

const quarantineHeaders = {
  [QUARANTINE_HEADERS.reason]: 'Stable, machine-readable name of the reason.',
  [QUARANTINE_HEADERS.stage]: 'The service that wrote the record: ingress or projector.',
  [QUARANTINE_HEADERS.detail]: 'A sentence for people. Missing if it made the record too large.',
  [QUARANTINE_HEADERS.topic]: 'Topic that the projector read the record from, or that refused the record.',
  [QUARANTINE_HEADERS.partition]: 'Partition of the record in that topic. Set by the projector only.',
  [QUARANTINE_HEADERS.offset]: 'Offset of the record in that topic. Set by the projector only.',
} satisfies Record<(typeof QUARANTINE_HEADERS)[keyof typeof QUARANTINE_HEADERS], string>

const traceHeaders = {
  [RAW_HEADERS.traceparent]: rawHeaders[RAW_HEADERS.traceparent],
  [RAW_HEADERS.tracestate]: rawHeaders[RAW_HEADERS.tracestate],
}

const headersOf = (descriptions: Readonly<Record<string, string>>, ...required: readonly string[]) => ({
  type: 'object',
  required,
  properties: Object.fromEntries(
    Object.entries(descriptions).map(([name, description]) => [name, { type: 'string', description }]),
  ),
})

const keyed = (description: string) => ({ kafka: { key: { type: 'string', description }, bindingVersion: '0.5.0' } })

/** Value of a record in the audit of quarantine (docs/contracts.md). */
const auditEntry = {
  type: 'object',
  required: ['topicId', 'partition', 'offset', 'action', 'at', 'requestedBy'],
  properties: {
    topicId: {
      type: ['string', 'null'],
      description: 'Id of the quarantine topic, 32 hexadecimal digits. Null if the brokers have no topic ids.',
    },
    partition: { type: 'integer', description: 'Partition of the record in quarantine.' },
    offset: { type: 'string', pattern: '^\\d+$', description: 'Offset of the record in quarantine.' },
    action: { enum: ['redriven', 'dropped'], description: 'What the operator did with the record.' },
    origin: {
      type: 'string',
      description:
        'Name of the original record: topic/partition/offset@time of receipt. The entry is about all its copies.',
    },
    at: { type: 'integer', description: 'Time of the action, Unix milliseconds.' },
    requestedBy: { type: 'string', description: 'The person who asked for the action.' },
    note: { type: 'string', description: 'Why the record was dropped.' },
    sentTo: { type: 'string', description: 'The topic to which the record was sent.' },
  },
}

const messageNameOf = (type: EventType): string =>
  `${type.replaceAll(/(?:^|-)(\w)/g, (_, letter: string) => letter.toUpperCase())}Event`

const eventMessage = (type: EventType, key: string) => ({
  title: `Event of type ${type}`,
  summary: 'The body of the request, byte for byte. The record timestamp is the time of receipt.',
  contentType: 'application/json',
  headers: headersOf(rawHeaders),
  payload: { $ref: `./${eventSchemaName(type)}` },
  bindings: keyed(key),
})

const messages = () => ({
  ...Object.fromEntries(
    EVENT_TYPES.map((type) => [
      messageNameOf(type),
      eventMessage(
        type,
        type === 'customers'
          ? 'customerUuid.'
          : "dealeruuid. If it is missing, the event's id. If both are missing, the record has no key.",
      ),
    ]),
  ),
  CustomerState: {
    title: 'State of a customer',
    summary: 'The current customer. The record timestamp is the time of receipt of the newest event.',
    contentType: 'application/json',
    headers: headersOf(traceHeaders),
    payload: { $ref: `./${STATE_SCHEMA}` },
    bindings: keyed('customerUuid.'),
  },
  CustomerErased: {
    title: 'Tombstone',
    summary: 'The customer was erased: the record has no value.',
    payload: { type: 'null' },
    bindings: keyed('customerUuid.'),
  },
  Erasure: {
    title: 'Erasure',
    summary: 'Erases a customer. Only the last erasure of a customer is used. A tombstone does not undo an erasure.',
    contentType: 'application/json',
    payload: { $ref: `./${ERASURE_SCHEMA}` },
    bindings: keyed('customerUuid.'),
  },
  QuarantinedRecord: {
    title: 'Quarantined record',
    summary: 'The bytes that could not be handled. If a record has no value, its headers name the original record.',
    contentType: 'application/octet-stream',
    headers: headersOf(
      { ...quarantineHeaders, [RAW_HEADERS.contentType]: rawHeaders[RAW_HEADERS.contentType], ...traceHeaders },
      QUARANTINE_HEADERS.reason,
      QUARANTINE_HEADERS.stage,
    ),
    bindings: keyed('customerUuid or event id, if it could be read. Otherwise the record may have no key.'),
  },
  AuditEntry: {
    title: 'Entry of the audit',
    summary: 'An operator has redriven or dropped a record of quarantine. Only the last entry of a record is used.',
    contentType: 'application/json',
    payload: auditEntry,
    bindings: keyed('partition/offset of the record in quarantine.'),
  },
})

const kept = { 'cleanup.policy': ['delete'], 'retention.bytes': -1 }
const compacted = {
  'cleanup.policy': ['compact'],
  'delete.retention.ms': WEEK_MS,
  'max.compaction.lag.ms': WEEK_MS,
}

const channel = (
  address: string,
  description: string,
  topicConfiguration: Readonly<Record<string, unknown>>,
  names: readonly string[],
) => ({
  address,
  description,
  parameters: {
    prefix: { description: 'The setting KAFKA_TOPIC_PREFIX.', default: DEFAULT_TOPIC_PREFIX },
  },
  messages: Object.fromEntries(names.map((name) => [name, { $ref: `#/components/messages/${name}` }])),
  bindings: { kafka: { topicConfiguration, bindingVersion: '0.5.0' } },
})

const channels = () => {
  const topics = topicNames(PREFIX)
  const others = EVENT_TYPES.filter((type) => type !== 'customers')
  return {
    customers: channel(
      topics.customers,
      'Every delivered event of type customers. Events may repeat and come out of order, so compare versions. ' +
        'The partition is murmur2 of the key, as in the Java client.',
      kept,
      [messageNameOf('customers')],
    ),
    state: channel(
      stateTopicName(PREFIX),
      'A compacted changelog: the last record of a key is the current customer. It has the partition count and the ' +
        'partitioner of the topic of customers events.',
      compacted,
      ['CustomerState', 'CustomerErased'],
    ),
    erasures: channel(
      erasuresTopicName(PREFIX),
      'Customers to erase: the projector reads this topic and does not write it. It is compacted, and has the ' +
        'partition count and the partitioner of the topic of customers events.',
      compacted,
      ['Erasure'],
    ),
    other: channel(
      topics.other,
      'Every authentic event of another type, also of types that are not described here.',
      kept,
      others.map(messageNameOf),
    ),
    quarantine: channel(
      topics.quarantine,
      'Quarantine (dead-letter topic): authentic bytes that could not be handled, with the reason.',
      kept,
      ['QuarantinedRecord'],
    ),
    audit: channel(
      quarantineAuditTopicName(PREFIX),
      'The audit of quarantine: which records an operator has redriven or dropped, with a command or in the console.',
      { ...kept, 'retention.ms': -1 },
      ['AuditEntry'],
    ),
  }
}

/** @param version of the contract, as in the package of the schemas. */
export const asyncApi = (version: string) => {
  const all = channels()
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'customer-stream',
      version,
      description:
        'The topics that customer-stream writes, for subscribers, and the topic of erasures, which it reads.',
    },
    defaultContentType: 'application/json',
    channels: all,
    operations: Object.fromEntries(
      Object.entries(all).map(([name, { messages: own }]) => [
        `${name === 'erasures' ? 'read' : 'publish'}-${name}`,
        {
          action: name === 'erasures' ? 'receive' : 'send',
          channel: { $ref: `#/channels/${name}` },
          messages: Object.keys(own).map((message) => ({ $ref: `#/channels/${name}/messages/${message}` })),
        },
      ]),
    ),
    components: { messages: messages() },
  }
}
