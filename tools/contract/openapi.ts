/** OpenAPI 3.1 document of the ingress. */
import { PROBLEM_CONTENT_TYPE, problemSchema } from '@customer-stream/runtime'
import { HEALTH_PATH, WEBHOOK_PATH } from '../../services/ingress/src/http/app.ts'
import { SIGNATURE_HEADER, TOKEN_HEADER } from '../../services/ingress/src/http/authenticate.ts'
import { type Problem, problems } from '../../services/ingress/src/http/problem.ts'
import { EVENT_TYPES, eventSchemaName } from './json-schemas.ts'

/** Answers to requests with an unknown path or a wrong method. */
const notOfTheOperation: ReadonlySet<Problem> = new Set(['not-found', 'method-not-allowed'])

const responseOf = (types: readonly Problem[], status: number) => ({
  description: types.map((type) => `${type}: ${problems[type].title}`).join(' '),
  ...(status === 503 && { headers: { 'Retry-After': { schema: { type: 'integer' }, description: 'Seconds.' } } }),
  content: {
    [PROBLEM_CONTENT_TYPE]: {
      schema: {
        allOf: [{ $ref: '#/components/schemas/Problem' }],
        properties: { type: { enum: types }, status: { const: status } },
      },
    },
  },
})

const refusals = () => {
  const types = (Object.keys(problems) as Problem[]).filter((type) => !notOfTheOperation.has(type))
  const byStatus = Map.groupBy(types, (type) => problems[type].status)
  return Object.fromEntries([...byStatus].map(([status, each]) => [status, responseOf(each, status)]))
}

const statusDocument = (...values: readonly string[]) => ({
  'application/json': {
    schema: { type: 'object', required: ['status'], properties: { status: { enum: values } } },
  },
})

const webhook = () => ({
  operationId: 'deliver',
  summary: 'Delivers one event.',
  description:
    '202 means that every in-sync replica has the event, or a synced disk if the spool is on. After any other ' +
    'answer the sender repeats the event. MYKAARMA_AUTH selects which of the two headers are checked.',
  security: [{ signature: [], token: [] }],
  requestBody: {
    required: true,
    description: 'An event of any type. It must have a type. An event of type customers must also have a customerUuid.',
    content: {
      'text/plain': {
        schema: {
          type: 'string',
          contentMediaType: 'application/json',
          description: 'JSON. The sender labels its JSON as text/plain.',
        },
      },
      'application/json': {
        schema: {
          anyOf: [
            ...EVENT_TYPES.map((type) => ({ $ref: `./${eventSchemaName(type)}` })),
            ...['type', 'dataType'].map((name) => ({
              type: 'object',
              required: [name],
              properties: { [name]: { type: 'string', minLength: 1 } },
            })),
          ],
        },
      },
    },
  },
  responses: {
    202: { description: 'The event is stored.', content: statusDocument('accepted') },
    ...refusals(),
  },
})

const health = (operationId: string) => ({
  operationId,
  summary: 'Tells the load balancer whether the process takes requests.',
  security: [],
  responses: {
    200: { description: 'The process takes requests.', content: statusDocument('ready') },
    503: { description: 'The process stops.', content: statusDocument('not-ready') },
  },
})

/** @param version of the contract, as in the package of the schemas. */
export const openApi = (version: string) => ({
  openapi: '3.1.0',
  info: {
    title: 'customer-stream ingress',
    version,
    description: 'Receives the webhooks of myKaarma. Every answer except 202 is a problem document (RFC 9457).',
  },
  servers: [{ url: 'http://localhost:8080' }],
  paths: {
    [WEBHOOK_PATH]: { post: webhook() },
    [HEALTH_PATH]: { get: health('health'), head: health('healthHead') },
  },
  components: {
    securitySchemes: {
      signature: {
        type: 'apiKey',
        in: 'header',
        name: SIGNATURE_HEADER,
        description: 'sha256=<hex>: HMAC-SHA256 of the raw body. The hex digits may be upper or lower case.',
      },
      token: { type: 'apiKey', in: 'header', name: TOKEN_HEADER, description: 'The static token.' },
    },
    schemas: {
      Problem: problemSchema(problems),
    },
  },
})
