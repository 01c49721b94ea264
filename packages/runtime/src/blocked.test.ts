import { expect, it } from 'vitest'
import { createObstacles } from './blocked.ts'
import type { Logger } from './log.ts'
import { createRegistry } from './metrics.ts'

const open = () => {
  const lines: string[] = []
  const registry = createRegistry('test')
  const logger = {
    error: (_: object, text: string) => lines.push(`error ${text}`),
    info: (_: object, text: string) => lines.push(`info ${text}`),
  }
  const blocked = async () => {
    const { values } = (await registry.getSingleMetric('customer_stream_blocked')?.get()) ?? { values: [] }
    return values.filter(({ value }) => value > 0).map(({ labels }) => labels.reason)
  }
  return { obstacles: createObstacles(registry, logger as unknown as Logger), lines, blocked, registry }
}

it('shows every reason from the start, as 0', async () => {
  const { registry } = open()
  expect(await registry.metrics()).toContain('customer_stream_blocked{reason="authentication",service="test"} 0')
})

it('logs an obstacle once, until it changes or ends', async () => {
  const { obstacles, lines, blocked } = open()
  const denied = { blocked: true, reason: 'authorization' as const, message: 'denied' }
  for (let i = 0; i < 3; i++) obstacles.report('write', denied)
  obstacles.report('write', { ...denied, message: 'still denied' })
  expect(await blocked()).toEqual(['authorization'])
  obstacles.report('write', undefined)
  expect(await blocked()).toEqual([])
  expect(lines).toEqual(['error denied', 'error still denied', 'info no longer blocked'])
})

it('does not call an outage blocked, and keeps the obstacle of another task', async () => {
  const { obstacles, lines, blocked } = open()
  const outage = { blocked: false, reason: 'outage' as const, message: 'away' }
  obstacles.report('read', outage)
  expect([obstacles.blocked, obstacles.worst, lines]).toEqual([undefined, outage, []])
  const denied = { blocked: true, reason: 'tls' as const, message: 'denied' }
  obstacles.report('write', denied)
  obstacles.report('read', undefined)
  expect([obstacles.blocked, obstacles.worst, await blocked()]).toEqual([denied, denied, ['tls']])
})
