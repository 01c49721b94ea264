/** Request that caused an error of kafkajs. kafkajs' errors do not name the request. */
export interface FailedRequest {
  /** kafkajs' name of the request, e.g. `JoinGroup`. */
  readonly api: string
  /** `host:port`. Undefined if the request reached no broker. */
  readonly broker?: string
}

const failedRequests = new WeakMap<object, FailedRequest>()
const failedWork = new WeakMap<object, string>()

const note = <T>(notes: WeakMap<object, T>, error: unknown, value: T): void => {
  if (typeof error === 'object' && error !== null && !notes.has(error)) notes.set(error, value)
}

/** Remembers which request caused an error. Only the first call for an error has an effect. */
export const noteFailedRequest = (error: unknown, request: FailedRequest): void => note(failedRequests, error, request)

export const failedRequestOf = (error: object): FailedRequest | undefined => failedRequests.get(error)

/**
 * Runs `work`. If `work` fails, records `doing` for the message about the error.
 * @param doing text that names the resource and completes "The service cannot …".
 */
export const attributed = async <T>(doing: string, work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    note(failedWork, error, doing)
    throw error
  }
}

export const failedWorkOf = (error: object): string | undefined => failedWork.get(error)

/** A broker and the kind of connection to it. */
export interface Route {
  readonly broker: string
  readonly tls: boolean
  readonly login: boolean
}

const answering = new Set<string>()
const keyOf = ({ broker, tls, login }: Route): string => [broker, tls, login].join()

/**
 * Remembers that a broker has answered a request. Ignores an answer to `ApiVersions`, because a
 * broker answers this request even before the login.
 */
export const noteAnswer = (api: string, route: Route): void => {
  if (api !== 'ApiVersions') answering.add(keyOf(route))
}

/** True if this broker has answered on a connection of this kind since the process started. */
export const hasAnswered = (route: Route): boolean => answering.has(keyOf(route))
