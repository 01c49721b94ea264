import { createProblemDocument } from '@customer-stream/runtime'

/**
 * Problem documents (RFC 9457) for all answers of the ingress except 202. Each key is a stable
 * `type` that programs may match.
 */
export const problems = {
  'malformed-json': { status: 400, title: 'The body is not JSON.' },
  'bad-request': { status: 400, title: 'The request is not valid HTTP for this address.' },
  incomplete: { status: 400, title: 'The connection was closed before the whole request had arrived.' },
  unauthenticated: { status: 401, title: 'The request is not authenticated.' },
  'forbidden-address': { status: 403, title: 'The address is not allowed.' },
  'not-found': { status: 404, title: 'There is nothing at this address.' },
  'method-not-allowed': { status: 405, title: 'The method is not allowed here.' },
  'request-timeout': { status: 408, title: 'The request did not arrive in time.' },
  'too-large': { status: 413, title: 'The body is too large.' },
  'unsupported-media-type': { status: 415, title: 'The content type must be text/plain or application/json.' },
  'expectation-failed': { status: 417, title: 'The expectation cannot be met.' },
  unroutable: { status: 422, title: 'The event cannot be routed.' },
  'headers-too-large': { status: 431, title: 'The headers are too large.' },
  'internal-error': { status: 500, title: 'The service failed.' },
  'too-many-bodies': { status: 503, title: 'Too many request bodies are arriving at once. Send the request again.' },
  unavailable: { status: 503, title: 'The event could not be stored in time. Send the event again.' },
} as const

export type Problem = keyof typeof problems

export const problemDocument = createProblemDocument(problems)
