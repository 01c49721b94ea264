import { createProblemDocument } from '@customer-stream/runtime'

/**
 * Problems that the reader returns (RFC 9457). Each key is a stable `type` that programs may match.
 */
export const problems = {
  'bad-request': { status: 400, title: 'The request is not valid HTTP or JSON for this address.' },
  'invalid-parameter': { status: 400, title: 'A parameter or the body of the request is not valid.' },
  unauthenticated: { status: 401, title: 'The request has no valid API key.' },
  forbidden: { status: 403, title: 'The API key does not allow this request.' },
  'not-found': { status: 404, title: 'There is nothing at this address.' },
  'customer-not-found': { status: 404, title: 'There is no such customer.' },
  'record-not-found': { status: 404, title: 'Quarantine has no such record.' },
  'method-not-allowed': { status: 405, title: 'The method is not allowed here.' },
  'request-timeout': { status: 408, title: 'The request did not arrive in time.' },
  'redrive-running': { status: 409, title: 'The reader redrives another record. Send the request again.' },
  'position-gone': {
    status: 410,
    title: 'Changes after this event are missing. Read the customers again, and open a stream without Last-Event-ID.',
  },
  'too-large': { status: 413, title: 'The body is too large.' },
  'unsupported-media-type': { status: 415, title: 'The content type must be application/json.' },
  'too-many-requests': { status: 429, title: 'The API key has sent too many requests. Send this request later.' },
  'headers-too-large': { status: 431, title: 'The headers are too large.' },
  'internal-error': { status: 500, title: 'The service failed.' },
  unavailable: { status: 503, title: 'The data cannot be read now. Send the request again.' },
  'redrive-unavailable': { status: 503, title: 'The record cannot be redriven now.' },
  'version-not-reached': { status: 504, title: 'The version was not stored in time. Send the request again.' },
} as const

export type Problem = keyof typeof problems

export const problemDocument = createProblemDocument(problems)

/** Ends a request with a problem. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly problem: Problem
  readonly detail: string | undefined

  constructor(problem: Problem, detail?: string) {
    super(problem)
    this.problem = problem
    this.detail = detail
  }
}
