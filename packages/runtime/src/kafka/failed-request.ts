/** The request that an error of kafkajs belongs to. kafkajs itself does not say. */
export interface FailedRequest {
  /** Kafka's name of the request, e.g. `JoinGroup`. */
  readonly api: string
  /** `host:port`, if the request got as far. */
  readonly broker?: string
}

const failedRequests = new WeakMap<object, FailedRequest>()

/** Notes which request an error came from. The first note of an error stays. */
export const noteFailedRequest = (error: unknown, request: FailedRequest): void => {
  if (typeof error === 'object' && error !== null && !failedRequests.has(error)) failedRequests.set(error, request)
}

export const failedRequestOf = (error: object): FailedRequest | undefined => failedRequests.get(error)
