/** The operations about customers and dealers. */
import { MAX_EVENTS } from '../../customer-events.ts'
import { CHANGES_PATH, MAX_FILTERS } from '../changes-route.ts'
import { DEALERS_PATH, MAX_DEALERS } from '../dealers-route.ts'
import { MAX_LIMIT, SEARCH_PATH } from '../list-routes.ts'
import { MASK } from '../mask.ts'
import { ofOneCustomer, problemResponses } from './responses.ts'

const header = (description: string, schema: object = { type: 'string' }) => ({ description, schema })

/** Headers of the reader's answers whose data is from Redis. */
const headersOfRedis = {
  'x-complete-as-of': header(
    'Redis has every event that Kafka had at this time, Unix milliseconds. `unknown` if the reader does not know it.',
    { type: 'string', pattern: '^([0-9]+|unknown)$' },
  ),
}

const customerHeaders = {
  ...headersOfRedis,
  ETag: header('The version, and a digest of the answer. Compare it only as a whole.'),
  'x-customer-version': header('`TIMESTAMP:ID`, with a percent-encoded id.'),
  'x-customer-source': header('`topic/partition/offset` of the raw record.'),
  'x-received-at': header('Time of receipt, Unix milliseconds.', { type: 'integer' }),
  'x-applied-at': header('Time at which Redis got the customer, Unix milliseconds.', { type: 'integer' }),
}

const getCustomer = () => ({
  operationId: 'getCustomer',
  summary: 'Returns the current state of a customer.',
  description: `Needs the scope \`read\`. Without the scope \`pii\`, personal data is \`${MASK}\`.`,
  parameters: [
    { name: 'customerUuid', in: 'path', required: true, schema: { type: 'string', minLength: 1 } },
    {
      name: 'min-version',
      in: 'query',
      description: '`TIMESTAMP:ID` of an event. Waits until Redis has this version or a newer one.',
      schema: { type: 'string', pattern: '^[0-9]{1,16}:.+$' },
    },
    { name: 'If-None-Match', in: 'header', description: 'ETags of earlier answers.', schema: { type: 'string' } },
  ],
  responses: {
    200: {
      description: 'The customer.',
      headers: customerHeaders,
      content: { 'application/json': { schema: { $ref: '#/components/schemas/Customer' } } },
    },
    304: { description: 'The client has the current answer.', headers: customerHeaders },
    ...problemResponses(['too-large', 'unsupported-media-type']),
  },
})

const listResponse = (description: string, more: object) => ({
  description,
  headers: headersOfRedis,
  content: {
    'application/json': {
      schema: {
        type: 'object',
        required: ['customers'],
        properties: { customers: { type: 'array', items: { $ref: '#/components/schemas/Customer' } }, ...more },
      },
    },
  },
})

const queryText = { type: 'string', minLength: 1, maxLength: 512 }
const queryOf = (...names: readonly string[]) => ({
  type: 'object',
  required: names,
  properties: Object.fromEntries(names.map((name) => [name, queryText])),
  additionalProperties: false,
})

const searchCustomers = () => ({
  operationId: 'searchCustomers',
  summary: 'Finds customers by phone number, e-mail address, VIN, or the key at their dealer.',
  description: 'Needs the scope `read`. The method is POST, because personal data must not be in addresses and logs.',
  requestBody: {
    required: true,
    content: {
      'application/json': {
        schema: { oneOf: [queryOf('phone'), queryOf('email'), queryOf('vin'), queryOf('dealer', 'key')] },
      },
    },
  },
  responses: {
    200: listResponse('At most 100 customers, the newest event first.', {
      truncated: { type: 'boolean', description: 'True if there are more customers. Otherwise the member is missing.' },
    }),
    ...problemResponses(ofOneCustomer),
  },
})

const listDealerCustomers = () => ({
  operationId: 'listDealerCustomers',
  summary: 'Lists the customers of a dealer, the oldest change first.',
  description: 'Needs the scope `read`.',
  parameters: [
    { name: 'dealerUuid', in: 'path', required: true, schema: { type: 'string', minLength: 1 } },
    {
      name: 'changed-since',
      in: 'query',
      description: 'Leaves out customers whose newest event is older than this time. Unix milliseconds.',
      schema: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER, default: 0 },
    },
    { name: 'cursor', in: 'query', description: 'The cursor of the previous page.', schema: { type: 'string' } },
    { name: 'limit', in: 'query', schema: { type: 'integer', minimum: 1, maximum: MAX_LIMIT, default: 100 } },
  ],
  responses: {
    200: listResponse('A page, which may have fewer customers than `limit`.', {
      cursor: { type: 'string', description: 'Place of the next page. Missing on the last page.' },
    }),
    ...problemResponses([...ofOneCustomer, 'too-large', 'unsupported-media-type']),
  },
})

const listDealers = () => ({
  operationId: 'listDealers',
  summary: 'Lists dealers with their activity, in the order of their ids.',
  description: 'Needs the scope `read`. Lists the dealers of the API key from which an event has arrived.',
  parameters: [
    { name: 'cursor', in: 'query', description: 'The cursor of the previous page.', schema: { type: 'string' } },
    {
      name: 'limit',
      in: 'query',
      schema: { type: 'integer', minimum: 1, maximum: MAX_DEALERS, default: MAX_DEALERS },
    },
  ],
  responses: {
    200: {
      description: 'A page of dealers.',
      headers: headersOfRedis,
      content: {
        'application/json': {
          schema: {
            type: 'object',
            required: ['dealers'],
            properties: {
              dealers: { type: 'array', items: { $ref: '#/components/schemas/Dealer' } },
              cursor: { type: 'string', description: 'Place of the next page. Missing on the last page.' },
            },
          },
        },
      },
    },
    ...problemResponses([...ofOneCustomer, 'too-large', 'unsupported-media-type']),
  },
})

const EVENTS =
  'Server-Sent Events. `changed` has a document of the schema Change as its data. `removed` has ' +
  '`{"customerUuid": "…"}`: the customer was erased, or has a dealer that this stream does not show. Each event has ' +
  'an id, with which a new stream continues. A heartbeat is a comment with an id.'

const filter = (name: string, description: string) => ({
  name,
  in: 'query',
  description,
  style: 'form',
  explode: true,
  schema: { type: 'array', items: { type: 'string', minLength: 1 }, maxItems: MAX_FILTERS },
})

const getEvents = () => ({
  operationId: 'getCustomerEvents',
  summary: 'Returns the history of a customer.',
  description:
    'Needs the scope `read`. Lists the newest events of the customer in the raw topic. `searched` says which ' +
    'records were read.',
  parameters: [
    { name: 'customerUuid', in: 'path', required: true, schema: { type: 'string', minLength: 1 } },
    {
      name: 'since',
      in: 'query',
      description: 'Leaves out events that were received before this time. Unix milliseconds. Default: 24 hours ago.',
      schema: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    },
    {
      name: 'raw',
      in: 'query',
      description: '`1`: the answer has the bytes of each event. Needs the scope `pii`.',
      schema: { enum: ['0', '1'] },
    },
  ],
  responses: {
    200: {
      description: `At most ${MAX_EVENTS} events, the newest first.`,
      content: { 'application/json': { schema: { $ref: '#/components/schemas/Events' } } },
    },
    ...problemResponses(['version-not-reached', 'too-large', 'unsupported-media-type']),
  },
})

const getChanges = () => ({
  operationId: 'getChanges',
  summary: 'Streams changed and removed customers.',
  description: 'Needs the scope `read`. The stream ends when the service stops or the API keys change.',
  parameters: [
    filter('customer', 'Customers of the stream. Without this parameter: all customers.'),
    filter('dealer', 'Dealers of the stream. Without this parameter: all dealers of the API key.'),
    {
      name: 'Last-Event-ID',
      in: 'header',
      description: 'Id of the last event of an earlier stream.',
      schema: { type: 'string' },
    },
  ],
  responses: {
    200: { description: EVENTS, content: { 'text/event-stream': { schema: { type: 'string' } } } },
    ...problemResponses([...ofOneCustomer, 'too-large', 'unsupported-media-type'], ['position-gone']),
  },
})

export const customerPaths = () => ({
  '/v1/customers/{customerUuid}': { get: getCustomer() },
  [SEARCH_PATH]: { post: searchCustomers() },
  '/v1/dealers/{dealerUuid}/customers': { get: listDealerCustomers() },
  [DEALERS_PATH]: { get: listDealers() },
  '/v1/customers/{customerUuid}/events': { get: getEvents() },
  [CHANGES_PATH]: { get: getChanges() },
})
