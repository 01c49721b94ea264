/** OpenAPI 3.1 of the reader. Served at `/openapi.json`, and written to the contract. */
import { problemSchema } from '@customer-stream/runtime'
import { ChangeDocument, CustomerDocument } from '../customer-document.ts'
import { DealerDocument } from '../dealer-document.ts'
import { EventsDocument } from '../event-document.ts'
import { PipelineDocument } from '../pipeline-document.ts'
import { problems } from '../problem.ts'
import { QuarantineDetail, QuarantineList, RedriveAnswer } from '../quarantine-document.ts'
import { customerPaths } from './customers.ts'
import { operatorPaths } from './operators.ts'
import { problemResponses } from './responses.ts'

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
    ...customerPaths(),
    ...operatorPaths(),
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
      Problem: problemSchema(problems),
    },
  },
})
