import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { keepOpen } from './keep-open.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const start = () => {
  const log: string[] = []
  let opened = 0
  const state = { isOutage: false }
  const kept = keepOpen({
    open: async () => {
      opened += 1
      log.push(`open ${opened}`)
      return opened
    },
    refresh: async (resource) => {
      log.push(`refresh ${resource}`)
      if (state.isOutage) throw new Error('away')
    },
    close: async (resource) => log.push(`close ${resource}`),
    maxAgeMs: 30_000,
  })
  return { log, kept, state }
}

it('uses within the maximum age share one resource, which is refreshed for a later use, and then closed', async () => {
  const { log, kept } = start()
  expect(await kept.use(async (resource) => resource)).toBe(1)
  await vi.advanceTimersByTimeAsync(29_000)
  expect(await kept.use(async (resource) => resource)).toBe(1)
  await vi.advanceTimersByTimeAsync(1000)
  expect(log).toEqual(['open 1', 'refresh 1', 'close 1'])
  expect(await kept.use(async (resource) => resource)).toBe(2)
})

it('a resource that becomes too old during a use is closed at the end of the use', async () => {
  const { log, kept } = start()
  const { promise, resolve } = Promise.withResolvers<void>()
  const used = kept.use(() => promise)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(log).toEqual(['open 1'])
  resolve()
  await used
  expect(log).toEqual(['open 1', 'close 1'])
})

it('a use that fails closes its resource, and the next use opens a new resource', async () => {
  const { log, kept } = start()
  await expect(kept.use(() => Promise.reject(new Error('refused')))).rejects.toThrow('refused')
  expect(await kept.use(async (resource) => resource)).toBe(2)
  expect(log).toEqual(['open 1', 'close 1', 'open 2'])
})

it('after an outage, a use gets a new resource and does not fail', async () => {
  const { log, kept, state } = start()
  await kept.use(async () => undefined)
  state.isOutage = true
  expect(await kept.use(async (resource) => resource)).toBe(2)
  expect(log).toEqual(['open 1', 'refresh 1', 'close 1', 'open 2'])
})

it('a stop closes an unused resource, and a running use closes its resource at its end', async () => {
  const idle = start()
  await idle.kept.use(async () => undefined)
  await idle.kept.stop()
  expect(idle.log).toEqual(['open 1', 'close 1'])
  const busy = start()
  const { promise, resolve } = Promise.withResolvers<void>()
  const used = busy.kept.use(() => promise)
  await busy.kept.stop()
  expect(busy.log).toEqual(['open 1'])
  resolve()
  await used
  expect(busy.log).toEqual(['open 1', 'close 1'])
})
