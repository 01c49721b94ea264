import { createRequire } from 'node:module'
import { expect, it, onTestFinished, vi } from 'vitest'
import '../client.ts'

const require = createRequire(import.meta.url)
type Made = Record<string, unknown>
const kafkajs = <T>(module: string) => require(`kafkajs/src/${module}`) as new (options: object) => T

const HOUR_MS = 3_600_000
/** Changes the wall clock, but not the monotonic clock. */
const setClock = (byMs: number) => {
  const realNow = vi.isMockFunction(Date.now) ? (vi.mocked(Date.now).getMockImplementation() ?? Date.now) : Date.now
  vi.spyOn(Date, 'now').mockImplementation(() => realNow() + byMs)
  onTestFinished(() => void vi.restoreAllMocks())
}
const logger = { namespace: () => logger, debug() {}, info() {}, warn() {}, error() {} }

it('heartbeats are still sent after the clock was set back', async () => {
  const group = new (kafkajs<Made & { heartbeat(options: { interval: number }): Promise<void> }>(
    'consumer/consumerGroup',
  ))({ logger })
  const heartbeat = vi.fn(async () => undefined)
  const lastRequest = Date.now() - 2000
  Object.assign(group, {
    memberId: 'm',
    coordinator: { heartbeat },
    instrumentationEmitter: { emit() {} },
    lastRequest,
  })
  setClock(-HOUR_MS)
  await group.heartbeat({ interval: 1000 })
  expect(heartbeat).toHaveBeenCalledOnce()
})

const request = (): Made & { send(): void } =>
  new (kafkajs<Made & { send(): void }>('network/requestQueue/socketRequest'))({
    entry: { correlationId: 1 },
    send() {},
    timeout() {},
  })

it.each([HOUR_MS, -HOUR_MS])('a request keeps its timeout if the clock changes by %s ms', async (byMs) => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const queue = new (kafkajs<
    Made & { scheduleRequestTimeoutCheck(): void; inflight: Map<number, unknown>; destroy(): void }
  >('network/requestQueue'))({
    logger,
    requestTimeout: 1000,
    enforceRequestTimeout: true,
  })
  onTestFinished(() => queue.destroy())
  const sent = request()
  const timeoutRequest = vi.fn()
  Object.assign(sent, { requestTimeout: 1000, timeoutRequest })
  sent.send()
  queue.inflight.set(1, sent)
  queue.scheduleRequestTimeoutCheck()
  setClock(byMs)
  vi.advanceTimersByTime(900)
  expect(timeoutRequest).not.toHaveBeenCalled()
  vi.advanceTimersByTime(300)
  expect(timeoutRequest).toHaveBeenCalled()
})

it.each([
  ['network/requestQueue', 'throttledUntil'],
  ['cluster/brokerPool', 'metadataExpireAt'],
])('the kafkajs time %s.%s stays correct when the clock is set back', (module, property) => {
  vi.useFakeTimers({ toFake: ['Date', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const made = new (kafkajs<Made>(module))({ logger })
  made[property] = Date.now() + 1000
  setClock(-HOUR_MS)
  expect(Number(made[property]) - Date.now()).toBeCloseTo(1000)
  made[property] = null
  expect(made[property]).toBeNull()
})
