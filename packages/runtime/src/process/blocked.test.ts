import { expect, it, vi } from 'vitest'
import { createObstacles } from './blocked.ts'
import type { Logger } from './log.ts'
import { createRegistry } from './metrics.ts'

const open = () => {
  const lines: string[] = []
  const registry = createRegistry('test')
  const logger = {
    error: (_: object, text: string) => lines.push(`error ${text}`),
    warn: (_: object, text: string) => lines.push(`warn ${text}`),
    info: (_: object, text: string) => lines.push(`info ${text}`),
  }
  const blocked = async () => {
    const { values } = (await registry.getSingleMetric('customer_stream_blocked')?.get()) ?? { values: [] }
    return values.filter(({ value }) => value > 0).map(({ labels }) => labels.reason)
  }
  return { obstacles: createObstacles(registry, logger as unknown as Logger), lines, blocked, registry }
}

it('the metric customer_stream_blocked has every reason at start, with the value 0', async () => {
  const { registry } = open()
  expect(await registry.metrics()).toContain('customer_stream_blocked{reason="authentication",service="test"} 0')
})

it('an obstacle is logged once until it changes or ends', async () => {
  const { obstacles, lines, blocked } = open()
  const denied = { blocked: true, reason: 'authorization' as const, message: 'denied' }
  for (let i = 0; i < 3; i++) obstacles.report('write', denied)
  obstacles.report('write', { ...denied, message: 'still denied' })
  expect(await blocked()).toEqual(['authorization'])
  obstacles.report('write', undefined)
  expect(await blocked()).toEqual([])
  expect(lines).toEqual(['error denied', 'error still denied', 'info no longer blocked'])
})

it('a process with only an outage is not blocked, and an outage does not hide another task’s obstacle', async () => {
  const { obstacles, lines, blocked } = open()
  const outage = { blocked: false, reason: 'outage' as const, message: 'away' }
  obstacles.report('read', outage)
  expect([obstacles.blocked, obstacles.worst, lines]).toEqual([undefined, outage, ['warn away']])
  const denied = { blocked: true, reason: 'tls' as const, message: 'denied' }
  obstacles.report('write', denied)
  obstacles.report('read', undefined)
  expect([obstacles.blocked, obstacles.worst, await blocked()]).toEqual([denied, denied, ['tls']])
})

it('if several tasks report the same outage, its beginning and its end are logged once', () => {
  const { obstacles, lines } = open()
  const outage = { blocked: false, reason: 'outage' as const, message: 'away' }
  for (const task of ['read', 'write', 'read']) obstacles.report(task, outage)
  obstacles.report('read', undefined)
  expect(lines).toEqual(['warn away'])
  obstacles.report('write', undefined)
  obstacles.report('write', undefined)
  expect(lines).toEqual(['warn away', 'info the outage is over: away'])
})

it('an outage that lasts or repeats is logged once a minute', () => {
  const now = vi.spyOn(performance, 'now').mockReturnValue(0)
  const { obstacles, lines } = open()
  const outage = { blocked: false, reason: 'outage' as const, message: 'away' }
  for (let second = 0; second < 120; second++) {
    now.mockReturnValue(second * 1000)
    obstacles.report('read', outage)
    if (second < 60) obstacles.report('read', undefined)
  }
  expect(lines).toEqual(['warn away', 'info the outage is over: away', 'warn away'])
  now.mockRestore()
})

it('a new outage is logged even soon after another outage', () => {
  const { obstacles, lines } = open()
  obstacles.report('start', { blocked: false, reason: 'outage', message: 'topics are not there yet' })
  obstacles.report('start', undefined)
  obstacles.report('read', { blocked: false, reason: 'outage', message: 'away' })
  expect(lines).toEqual([
    'warn topics are not there yet',
    'info the outage is over: topics are not there yet',
    'warn away',
  ])
})

it('an outage is not logged as over when it becomes a problem that a person must solve', () => {
  const { obstacles, lines } = open()
  obstacles.report('read', { blocked: false, reason: 'outage', message: 'away' })
  obstacles.report('read', { blocked: true, reason: 'tls', message: 'denied' })
  expect(lines).toEqual(['warn away', 'error denied'])
})
