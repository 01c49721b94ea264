/** JSON Schemas (2020-12) of events, state document and erasure, made from the TypeBox schemas. */
import { CustomerState, CustomersPayload, Envelope, Erasure, otherPayloads } from '@customer-stream/schemas'

/** A JSON Schema as plain JSON. */
export interface JsonSchema {
  readonly [keyword: string]: unknown
}

export const DIALECT = 'https://json-schema.org/draft/2020-12/schema'

const plain = (schema: object): JsonSchema => {
  // Remove TypeBox's symbols, which JSON cannot have, and its `$id`, which is not a URI.
  const { $id: _, ...rest } = JSON.parse(JSON.stringify(schema)) as JsonSchema
  return rest
}

const payloads = { customers: CustomersPayload, ...otherPayloads }
export type EventType = keyof typeof payloads
export const EVENT_TYPES = Object.keys(payloads) as EventType[]

export const STATE_SCHEMA = 'customer-state.schema.json'
export const ERASURE_SCHEMA = 'erasure.schema.json'
export const eventSchemaName = (type: EventType): string => `${type}.schema.json`

const DEVIATIONS =
  'Fields are as the sender documents them. A delivered value may differ, and unknown fields may appear at any time.'

/**
 * Returns a schema for the events of a type. A legacy envelope has the type in `dataType`, which is
 * used if `type` is missing or empty.
 */
const isOfType = (type: EventType) => ({
  anyOf: [
    { type: 'object', required: ['type'], properties: { type: { const: type } } },
    {
      type: 'object',
      required: ['dataType'],
      properties: { dataType: { const: type }, type: { enum: ['', null] } },
    },
  ],
})

const eventSchema = (type: EventType): JsonSchema => {
  const payload = { $ref: '#/$defs/Payload' }
  const { properties, ...envelope } = plain(Envelope) as { properties: JsonSchema }
  return {
    $schema: DIALECT,
    $id: `urn:customer-stream:${type}`,
    title: `Event of type ${type}`,
    description: `The body of a request, and the value of a raw record. ${DEVIATIONS}`,
    ...envelope,
    ...(type === 'customers' && { required: ['payload'] }),
    properties: {
      ...properties,
      payload: {
        description: 'JSON in a string, as the sender delivers it. An object is accepted too.',
        anyOf: [
          { type: 'string', contentMediaType: 'application/json', contentSchema: payload },
          payload,
          ...(type === 'customers' ? [] : [{ type: 'null' }]),
        ],
      },
    },
    ...isOfType(type),
    $defs: { Payload: plain(payloads[type]) },
  }
}

/** Returns the schema of the values in a changelog topic. */
const valueSchema = (id: string, title: string, schema: object, addition: string): JsonSchema => {
  const { description, ...rest } = plain(schema)
  return {
    $schema: DIALECT,
    $id: `urn:customer-stream:${id}`,
    title,
    description: `${description} ${addition}`,
    ...rest,
  }
}

/** Returns all schemas by the name of their file. */
export const jsonSchemas = (): Readonly<Record<string, JsonSchema>> => ({
  ...Object.fromEntries(EVENT_TYPES.map((type) => [eventSchemaName(type), eventSchema(type)])),
  [STATE_SCHEMA]: valueSchema(
    'customer-state',
    'State document',
    CustomerState,
    `The value of a record of the state topic. ${DEVIATIONS}`,
  ),
  [ERASURE_SCHEMA]: valueSchema('erasure', 'Erasure', Erasure, 'The value of a record of the erasures topic.'),
})
