import { createRequire } from 'node:module'
import { noteQuotaDelay } from '../quota.ts'

interface SocketRequest {
  /** Unix milliseconds. */
  readonly sentAt: number
  /** Milliseconds until the request times out. */
  readonly requestTimeout: number
  timeoutRequest(): void
  rejected(error: Error): void
}

interface RequestQueue {
  throttleCheckTimeoutId: NodeJS.Timeout | null
  requestTimeoutIntervalId: NodeJS.Timeout | undefined
  readonly throttledUntil: number
  readonly enforceRequestTimeout: boolean
  pending: readonly SocketRequest[]
  readonly inflight: ReadonlyMap<number, SocketRequest>
  readonly broker: string
  readonly clientId: string
  readonly logger: { error(message: string, fields: object): void }
  checkPendingRequests(): void
  destroy(): void
}

const require = createRequire(import.meta.url)

/** Minimum delay that is reported. Nobody would notice the effect of a shorter delay. */
const REPORTED_THROTTLE_MS = 100

/**
 * Reports in the log and in /readyz that Kafka delays the requests of a client that exceeds a
 * quota. kafkajs 2.2.4 logs a delay only at the level debug. No request fails, so nothing else
 * would show the reason.
 */
export const patchThrottle = (): void => {
  const { prototype } = require('kafkajs/src/network/requestQueue') as {
    prototype: RequestQueue & { maybeThrottle(throttleMs: number | null | undefined): void }
  }
  const { maybeThrottle } = prototype
  prototype.maybeThrottle = function (throttleMs) {
    maybeThrottle.call(this, throttleMs)
    if (!throttleMs || throttleMs < REPORTED_THROTTLE_MS) return
    const delay = { broker: this.broker, clientId: this.clientId, throttleMs }
    noteQuotaDelay(delay)
    this.logger.error('Kafka delays this client, because it exceeds a quota', delay)
  }
}

/**
 * Lets a disconnect wait only for requests that were sent. kafkajs 2.2.4 also waits for requests
 * that a quota delays, perhaps for minutes. A process with such a request would not stop in time.
 */
export const patchDelayedDisconnect = (): void => {
  const { KafkaJSConnectionError } = require('kafkajs/src/errors') as {
    KafkaJSConnectionError: new (message: string, options: { readonly broker: string }) => Error
  }
  const { prototype } = require('kafkajs/src/network/requestQueue') as {
    // kafkajs calls this function only to disconnect.
    prototype: RequestQueue & { waitForPendingRequests(): Promise<void> }
  }
  const { waitForPendingRequests } = prototype
  prototype.waitForPendingRequests = function () {
    const { pending, broker } = this
    this.pending = []
    for (const request of pending)
      request.rejected(new KafkaJSConnectionError('Disconnected before the request was sent', { broker }))
    return waitForPendingRequests.call(this)
  }
}

/**
 * Removes the timers of idle connections. kafkajs 2.2.4 runs two timers for each connection:
 * - A timer for waiting requests. After the first response kafkajs restarts this timer forever with
 *   a negative delay. An idle process then uses 5 % of a core, and Node 24 logs a
 *   TimeoutNegativeWarning (tulios/kafkajs#1556, #1751). Here the timer runs only while requests
 *   wait.
 * - A check every 100 ms whether requests have timed out. A projector has about fifteen
 *   connections, so these checks cost 0.3 % of a core. Here the check runs when the first request
 *   is due to time out.
 */
export const patchRequestQueue = (): void => {
  const { prototype } = require('kafkajs/src/network/requestQueue') as {
    prototype: RequestQueue & {
      scheduleCheckPendingRequests(): void
      scheduleRequestTimeoutCheck(): void
      sendSocketRequest(request: SocketRequest): void
    }
  }
  prototype.scheduleCheckPendingRequests = function (this: RequestQueue) {
    if (this.throttleCheckTimeoutId || this.pending.length === 0) return
    this.throttleCheckTimeoutId = setTimeout(
      () => {
        this.throttleCheckTimeoutId = null
        this.checkPendingRequests()
      },
      // kafkajs also checks waiting requests every 10 ms.
      Math.max(this.throttledUntil - Date.now(), 10),
    )
  }

  const { sendSocketRequest } = prototype
  prototype.sendSocketRequest = function (request) {
    sendSocketRequest.call(this, request)
    checkWithin(this, request.requestTimeout)
  }
  // kafkajs calls this function each time it has connected. `destroy` ends the timers.
  prototype.scheduleRequestTimeoutCheck = function () {
    this.destroy()
    checkTimeouts(this)
  }
}

/** Time of the next check, on the clock of `performance.now()`. */
const checkAt = new WeakMap<RequestQueue, number>()

const checkWithin = (queue: RequestQueue, ms: number): void => {
  if (!queue.enforceRequestTimeout) return
  const at = performance.now() + ms
  if ((checkAt.get(queue) ?? Number.POSITIVE_INFINITY) <= at) return
  clearTimeout(queue.requestTimeoutIntervalId)
  checkAt.set(queue, at)
  // kafkajs fails a request only after more than its timeout, so check 1 ms later.
  queue.requestTimeoutIntervalId = setTimeout(() => checkTimeouts(queue), ms + 1).unref()
}

const checkTimeouts = (queue: RequestQueue): void => {
  checkAt.delete(queue)
  let leftMs = Number.POSITIVE_INFINITY
  for (const request of queue.inflight.values()) {
    const left = request.sentAt + request.requestTimeout - Date.now()
    if (left < 0) request.timeoutRequest()
    else leftMs = Math.min(leftMs, left)
  }
  if (leftMs < Number.POSITIVE_INFINITY) checkWithin(queue, leftMs)
}
