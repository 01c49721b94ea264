import { createRequire } from 'node:module'
import { expect, it } from 'vitest'
import '../client.ts'

const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as {
  prototype: { scheduleCheckPendingRequests(this: object): void }
}
const schedule = (queue: { pending: unknown[]; throttledUntil: number }) => {
  const state = { ...queue, throttleCheckTimeoutId: null as NodeJS.Timeout | null, checkPendingRequests: () => {} }
  RequestQueue.prototype.scheduleCheckPendingRequests.call(state)
  clearTimeout(state.throttleCheckTimeoutId ?? undefined)
  return state.throttleCheckTimeoutId
}

it('an idle connection has no timer', () => {
  expect(schedule({ pending: [], throttledUntil: -1 })).toBeNull()
})

it('a connection has a timer while requests wait', () => {
  expect(schedule({ pending: [{}], throttledUntil: -1 })).not.toBeNull()
  expect(schedule({ pending: [{}], throttledUntil: Date.now() + 1000 })).not.toBeNull()
})
