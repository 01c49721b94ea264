import { createRequire } from 'node:module'

interface RequestQueue {
  throttleCheckTimeoutId: NodeJS.Timeout | null
  readonly throttledUntil: number
  readonly pending: readonly unknown[]
  checkPendingRequests(): void
}

const require = createRequire(import.meta.url)

/**
 * Starts the timer of kafkajs' request queue only while requests wait. After the first response on
 * a connection, kafkajs 2.2.4 restarts that timer forever with a negative delay. This costs 5 % of
 * a core while idle, and Node 24 logs a TimeoutNegativeWarning (tulios/kafkajs#1556, #1751).
 */
export const patchRequestQueue = (): void => {
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
      // kafkajs also checks waiting requests every 10 ms.
      Math.max(this.throttledUntil - Date.now(), 10),
    )
  }
}
