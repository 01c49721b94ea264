import { type FailedRequest, failedRequestOf } from './failed-request.ts'

export type AnyError = Error & {
  readonly type?: string
  readonly code?: unknown
  readonly broker?: string
  readonly topic?: string
  readonly cause?: unknown
  readonly errors?: readonly unknown[]
}

/** Returns the error, its causes and the errors that it contains (`AggregateError`). */
const errorsIn = (error: unknown, found: AnyError[] = []): AnyError[] => {
  if (!(error instanceof Error) || found.includes(error)) return found
  found.push(error)
  const { cause, errors } = error as AnyError
  errorsIn(cause, found)
  for (const each of errors ?? []) errorsIn(each, found)
  return found
}

/** Facts about a failure, collected from the error and its causes. */
export interface Facts {
  readonly errors: readonly AnyError[]
  /** Kafka's name of the error. */
  readonly type?: string | undefined
  /** Node's name of the error. */
  readonly code?: string | undefined
  readonly request?: FailedRequest | undefined
  readonly broker?: string | undefined
}

export const firstOf = <T>(errors: readonly AnyError[], read: (error: AnyError) => T | undefined): T | undefined => {
  for (const error of errors) {
    const value = read(error)
    if (value !== undefined) return value
  }
  return undefined
}

export const factsOf = (error: unknown): Facts => {
  const errors = errorsIn(error)
  const request = firstOf(errors, failedRequestOf)
  /**
   * True if several brokers failed at the same time. The message then names all of KAFKA_BROKERS.
   */
  const haveAllFailed = error instanceof AggregateError && error.errors.length > 1
  return {
    errors,
    // Ignore errors about topics that already exist. Such an error is not the reason for the
    // failure.
    type: firstOf(errors, ({ type }) => (type === 'TOPIC_ALREADY_EXISTS' ? undefined : type)),
    code: firstOf(errors, ({ code }) => (typeof code === 'string' ? code : undefined)),
    request,
    broker: haveAllFailed ? undefined : (request?.broker ?? firstOf(errors, ({ broker }) => broker)),
  }
}
