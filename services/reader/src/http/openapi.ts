/** OpenAPI 3.1 of the reader. Served at `/openapi.json`, and written to the contract. */
import { MAX_EVENTS } from '../customer-events.ts'
import { CHANGES_PATH, MAX_FILTERS } from './changes-route.ts'
import { ChangeDocument, CustomerDocument } from './customer-document.ts'
import { DealerDocument } from './dealer-document.ts'
import { DEALERS_PATH, MAX_DEALERS } from './dealers-route.ts'
import { EventsDocument } from './event-document.ts'
import { MAX_LIMIT, SEARCH_PATH } from './list-routes.ts'
import { MASK } from './mask.ts'
import { PipelineDocument } from './pipeline-document.ts'
import { PIPELINE_PATH } from './pipeline-route.ts'
import { PROBLEM_CONTENT_TYPE, type Problem, problems } from './problem.ts'
import { QuarantineDetail, QuarantineList, RedriveAnswer } from './quarantine-document.ts'
import { MAX_RECORDS_PER_PAGE, QUARANTINE_PATH } from './quarantine-routes.ts'

const RETRY_AFTER = { 'Retry-After': { schema: { type: 'integer' }, description: 'Seconds.' } }

const problemResponse = (types: readonly Problem[], status: number) => ({
  description: types.map((type) => `${type}: ${problems[type].title}`).join(' '),
  ...((status === 429 || status >= 503) && { headers: RETRY_AFTER }),
  content: {
    [PROBLEM_CONTENT_TYPE]: {
      schema: {
        allOf: [{ $ref: '#/components/schemas/Problem' }],
        properties: { type: { enum: types }, status: { const: status } },
      },
    },
  },
})

/** Problems of requests to an unknown path or with a wrong method. They belong to no operation. */
const notOfAnOperation: readonly Problem[] = ['not-found', 'method-not-allowed']

/** Problems of few operations only. */
const ofOneOperation: readonly Problem[] = [
  'position-gone',
  'record-not-found',
  'redrive-running',
  'redrive-unavailable',
]

/**
 * @param others problems that this operation never has.
 * @param own problems that only this operation has.
 */
const problemResponses = (others: readonly Problem[] = [], own: readonly Problem[] = []) => {
  const never = [...notOfAnOperation, ...others, ...ofOneOperation.filter((type) => !own.includes(type))]
  const types = (Object.keys(problems) as Problem[]).filter((type) => !never.includes(type))
  const byStatus = Map.groupBy(types, (type) => problems[type].status)
  return Object.fromEntries([...byStatus].map(([status, each]) => [status, problemResponse(each, status)]))
}

const header = (description: string, schema: object = { type: 'string' }) => ({ description, schema })

const customerHeaders = {
  ETag: header('The version. A client with another view of personal data gets another tag.'),
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
    { name: 'If-None-Match', in: 'header', description: 'ETags of known answers.', schema: { type: 'string' } },
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

/** Problems of requests with a customerUuid in the path, or with the parameter `min-version`. */
const ofOneCustomer = ['customer-not-found', 'version-not-reached'] as const

const listResponse = (description: string, more: object) => ({
  description,
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
      truncated: { const: true, description: 'There are more customers. Missing otherwise.' },
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
      description: 'Leaves out customers whose event is older. Unix milliseconds.',
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
  ...{ name, in: 'query', description, style: 'form', explode: true },
  schema: { type: 'array', items: { type: 'string', minLength: 1 }, maxItems: MAX_FILTERS },
})

const getEvents = () => ({
  operationId: 'getCustomerEvents',
  summary: 'Returns the history of a customer.',
  description: 'Needs the scope `read`. The newest events of the raw topic, as far as the reader looks back.',
  parameters: [
    { name: 'customerUuid', in: 'path', required: true, schema: { type: 'string', minLength: 1 } },
    {
      name: 'since',
      in: 'query',
      description: 'Leaves out events that were received earlier. Unix milliseconds. Default: 24 hours ago.',
      schema: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    },
    {
      name: 'raw',
      in: 'query',
      description: '1: with the bytes of each event. Needs the scope `pii`.',
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
      ...{ name: 'Last-Event-ID', in: 'header', description: 'Id of the last event of an earlier stream.' },
      schema: { type: 'string' },
    },
  ],
  responses: {
    200: { description: EVENTS, content: { 'text/event-stream': { schema: { type: 'string' } } } },
    ...problemResponses([...ofOneCustomer, 'too-large', 'unsupported-media-type'], ['position-gone']),
  },
})

const getPipeline = () => ({
  operationId: 'getPipeline',
  summary: 'Returns whether all is well, the rates, the lag, quarantine, and the last hour.',
  description: 'Needs the scope `operate` and a key for all dealers.',
  responses: {
    200: {
      description: 'The last measurement. The reader measures every 10 s.',
      content: { 'application/json': { schema: { $ref: '#/components/schemas/Pipeline' } } },
    },
    ...problemResponses([...ofOneCustomer, 'too-large', 'unsupported-media-type']),
  },
})

const recordId = {
  ...{ name: 'id', in: 'path', required: true, description: '`<topic>-<partition>-<offset>`.' },
  schema: { type: 'string' },
}

const jsonAnswer = (description: string, schema: string) => ({
  description,
  content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } },
})

const listQuarantine = () => ({
  operationId: 'listQuarantine',
  summary: 'Lists the newest records of quarantine (the dead-letter topic), without their bytes.',
  description: 'Needs the scope `operate` and a key for all dealers.',
  parameters: [
    { name: 'reason', in: 'query', description: 'Only records with this reason.', schema: { type: 'string' } },
    { name: 'cursor', in: 'query', description: 'The cursor of the page before.', schema: { type: 'string' } },
    {
      name: 'limit',
      in: 'query',
      schema: { type: 'integer', minimum: 1, maximum: MAX_RECORDS_PER_PAGE, default: 100 },
    },
  ],
  responses: {
    200: jsonAnswer('A page of records, the newest first.', 'QuarantineList'),
    ...problemResponses([...ofOneCustomer, 'too-large', 'unsupported-media-type']),
  },
})

const getQuarantined = () => ({
  operationId: 'getQuarantineRecord',
  summary: 'Returns one record of quarantine with its bytes.',
  description: 'Needs the scopes `operate` and `pii`, and a key for all dealers. The log has a line for each answer.',
  parameters: [recordId],
  responses: {
    200: jsonAnswer('The record.', 'QuarantineRecord'),
    ...problemResponses([...ofOneCustomer, 'too-large', 'unsupported-media-type'], ['record-not-found']),
  },
})

const redriveRecord = () => ({
  operationId: 'redriveQuarantineRecord',
  summary: 'Sends a record of quarantine to its raw topic again.',
  description: 'Needs the scope `operate` and a key for all dealers. The audit gets the name of the key.',
  parameters: [
    recordId,
    { name: 'dry-run', in: 'query', description: '1: writes nothing.', schema: { enum: ['0', '1'] } },
  ],
  responses: {
    200: jsonAnswer('What was done, or why nothing was done.', 'Redrive'),
    ...problemResponses(ofOneCustomer, ['record-not-found', 'redrive-running', 'redrive-unavailable']),
  },
})

const getDocument = () => ({
  operationId: 'getOpenApi',
  summary: 'Returns this document.',
  security: [],
  responses: {
    200: { description: 'OpenAPI 3.1.', content: { 'application/json': { schema: { type: 'object' } } } },
    ...problemResponses([
      ...(['invalid-parameter', 'unauthenticated', 'forbidden', 'customer-not-found'] as const),
      ...(['too-many-requests', 'unavailable', 'version-not-reached', 'too-large'] as const),
      'unsupported-media-type',
    ]),
  },
})

const getHealth = () => ({
  operationId: 'getHealth',
  summary: 'Tells the load balancer whether the process takes requests.',
  security: [],
  responses: {
    200: {
      description: 'The process takes requests.',
      content: {
        'application/json': {
          schema: { type: 'object', required: ['status'], properties: { status: { enum: ['ready'] } } },
        },
      },
    },
    ...problemResponses([
      ...(['invalid-parameter', 'unauthenticated', 'forbidden', 'customer-not-found'] as const),
      ...(['too-many-requests', 'version-not-reached', 'too-large', 'unsupported-media-type'] as const),
    ]),
  },
})

/** @param version of the contract, or of the service. */
export const openApi = (version: string) => ({
  openapi: '3.1.0',
  info: {
    title: 'customer-stream reader',
    version,
    description: 'Answers questions about customers. Every error is a problem document (RFC 9457).',
  },
  servers: [{ url: 'http://localhost:8090' }],
  security: [{ key: [] }],
  paths: {
    '/v1/customers/{customerUuid}': { get: getCustomer() },
    [SEARCH_PATH]: { post: searchCustomers() },
    '/v1/dealers/{dealerUuid}/customers': { get: listDealerCustomers() },
    [DEALERS_PATH]: { get: listDealers() },
    '/v1/customers/{customerUuid}/events': { get: getEvents() },
    [CHANGES_PATH]: { get: getChanges() },
    [PIPELINE_PATH]: { get: getPipeline() },
    [QUARANTINE_PATH]: { get: listQuarantine() },
    [`${QUARANTINE_PATH}/{id}`]: { get: getQuarantined() },
    [`${QUARANTINE_PATH}/{id}/redrive`]: { post: redriveRecord() },
    '/openapi.json': { get: getDocument() },
    '/healthz': { get: getHealth() },
  },
  components: {
    securitySchemes: {
      key: { type: 'http', scheme: 'bearer', description: 'An API key of READER_API_KEYS.' },
    },
    schemas: {
      Customer: CustomerDocument,
      Change: ChangeDocument,
      Events: EventsDocument,
      Dealer: DealerDocument,
      Pipeline: PipelineDocument,
      QuarantineList,
      QuarantineRecord: QuarantineDetail,
      Redrive: RedriveAnswer,
      Problem: {
        type: 'object',
        required: ['type', 'status', 'title'],
        properties: {
          type: { enum: Object.keys(problems), description: 'Stable: programs may match on it.' },
          status: { type: 'integer' },
          title: { type: 'string' },
          detail: { type: 'string', description: 'Details about this answer.' },
        },
      },
    },
  },
})
