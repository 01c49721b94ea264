import { createRequire } from 'node:module'
import { expect, it, onTestFinished, vi } from 'vitest'
import '../client.ts'
import { quotaDelay } from '../quota.ts'

interface Queue {
  maybeThrottle(throttleMs: number | null): void
  scheduleCheckPendingRequests(): void
  scheduleRequestTimeoutCheck(): void
  push(request: object): void
  fulfillRequest(response: object): void
  waitForPendingRequests(): Promise<void>
  destroy(): void
}
const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as (new (
  options: object,
) => Queue) & { readonly prototype: Queue }

const schedule = (queue: { pending: unknown[]; throttledUntil: number }) => {
  const state = { ...queue, throttleCheckTimeoutId: null as NodeJS.Timeout | null, checkPendingRequests: () => {} }
  RequestQueue.prototype.scheduleCheckPendingRequests.call(state as unknown as Queue)
  clearTimeout(state.throttleCheckTimeoutId ?? undefined)
  return state.throttleCheckTimeoutId
}

const openQueue = (options: object = {}) => {
  vi.useFakeTimers()
  const logger = { debug() {}, warn() {} }
  const queue = new RequestQueue({ logger, requestTimeout: 1000, enforceRequestTimeout: true, ...options })
  onTestFinished(() => {
    queue.destroy()
    vi.useRealTimers()
  })
  queue.scheduleRequestTimeoutCheck()
  const send = (correlationId: number, requestTimeout?: number) => {
    const reject = vi.fn()
    const entry = { correlationId, resolve() {}, reject }
    queue.push({ entry, expectResponse: true, requestTimeout, sendRequest() {} })
    return reject
  }
  return { queue, send }
}

it('an idle connection has no timer', () => {
  expect(schedule({ pending: [], throttledUntil: -1 })).toBeNull()
})

it('a connection has a timer while requests wait', () => {
  expect(schedule({ pending: [{}], throttledUntil: -1 })).not.toBeNull()
  expect(schedule({ pending: [{}], throttledUntil: Date.now() + 1000 })).not.toBeNull()
})

it('a connection without a request does not check whether requests have timed out', () => {
  const { queue, send } = openQueue()
  expect(vi.getTimerCount()).toBe(0)
  send(1)
  queue.fulfillRequest({ correlationId: 1, size: 0, payload: null })
  vi.advanceTimersByTime(1001)
  expect(vi.getTimerCount()).toBe(0)
})

it('each request times out after its own timeout', () => {
  const { send } = openQueue()
  const rejects = [send(1, 5000), send(2), send(3, 3000)]
  const timedOut = () => rejects.map((reject) => reject.mock.calls.length)
  vi.advanceTimersByTime(1000)
  expect(timedOut()).toEqual([0, 0, 0])
  vi.advanceTimersByTime(10)
  expect(timedOut()).toEqual([0, 1, 0])
  vi.advanceTimersByTime(2000)
  expect(timedOut()).toEqual([0, 1, 1])
  vi.advanceTimersByTime(2000)
  expect(timedOut()).toEqual([1, 1, 1])
  expect(vi.getTimerCount()).toBe(0)
})

it('a request that is sent after a lost connection times out', () => {
  const { queue, send } = openQueue()
  send(1)
  queue.destroy()
  queue.scheduleRequestTimeoutCheck()
  const reject = send(2)
  vi.advanceTimersByTime(1010)
  expect(reject).toHaveBeenCalledOnce()
})

it('a connection without enforced timeouts has no timer', () => {
  const { send } = openQueue({ enforceRequestTimeout: false })
  send(1)
  expect(vi.getTimerCount()).toBe(0)
})

it('a delay by a quota of Kafka is in the log and in the result of quotaDelay, because no request fails', () => {
  const lines: object[] = []
  const logger = { debug() {}, error: (message: string, fields: object) => lines.push({ message, ...fields }) }
  const { queue } = openQueue({ logger, broker: 'kafka:9092', clientId: 'ingress' })
  for (const throttleMs of [null, undefined, 0, 99, 100]) queue.maybeThrottle(throttleMs as number | null)
  expect(lines).toEqual([
    {
      message: 'Kafka delays this client, because it exceeds a quota',
      ...{ broker: 'kafka:9092', clientId: 'ingress', throttleMs: 100 },
    },
  ])
  expect(quotaDelay()).toContain('kafka:9092 has delayed requests of the client id ingress by 0.1 s')
})

it('a disconnect waits for sent requests, but not for requests that a quota delays', async () => {
  const { queue, send } = openQueue({ logger: { debug() {}, error() {} }, broker: 'kafka:9092' })
  const isSent = send(1)
  queue.maybeThrottle(600_000)
  const isDelayed = send(2)
  const waited = queue.waitForPendingRequests()
  queue.fulfillRequest({ correlationId: 1, size: 0, payload: null })
  await waited
  expect([isSent.mock.calls, isDelayed.mock.calls]).toEqual([
    [],
    [[expect.objectContaining({ message: 'Disconnected before the request was sent' })]],
  ])
})
