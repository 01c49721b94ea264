import { createRequire } from 'node:module'

interface RequestQueue {
  throttleCheckTimeoutId: NodeJS.Timeout | null
  readonly throttledUntil: number
  readonly pending: readonly unknown[]
  checkPendingRequests(): void
}

const require = createRequire(import.meta.url)

/**
 * kafkajs 2.2.4 re-arms a timer with a negative delay for ever on every connection, from the first response on: 5 % of a core while idle, and a
 * TimeoutNegativeWarning on Node 24 (tulios/kafkajs#1556, #1751). Here the timer is armed only while requests wait. Must run before a client is created.
 * @throws Error when another version of kafkajs is installed: the patch must then be looked at again.
 */
export const patchRequestQueue = (): void => {
  const { version } = require('kafkajs/package.json') as { version: string }
  if (version !== '2.2.4') throw new Error(`request-queue-patch.ts is written for kafkajs 2.2.4, found ${version}`)
  const { prototype } = require('kafkajs/src/network/requestQueue') as {
    prototype: RequestQueue & { scheduleCheckPendingRequests(): void }
  }
  prototype.scheduleCheckPendingRequests = function (this: RequestQueue) {
    if (this.throttleCheckTimeoutId || this.pending.length === 0) return
    this.throttleCheckTimeoutId = setTimeout(
      () => {
        this.throttleCheckTimeoutId = null
        this.checkPendingRequests()
      },
      // 10 ms is kafkajs' own interval for requests that wait for one in flight.
      Math.max(this.throttledUntil - Date.now(), 10),
    )
  }
}
