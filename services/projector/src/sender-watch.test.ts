import { createRegistry } from '@customer-stream/runtime/service'
import { expect, it, vi } from 'vitest'
import { createProjectorMetrics } from './metrics.ts'
import { createSenderWatch } from './sender-watch.ts'

it('if the watch of the sender fails, its caller gets no error, and one warning is logged', async () => {
  const warn = vi.fn()
  const failing = async () => {
    throw new Error('NOPERM')
  }
  const redis = { defineCommand: () => undefined, mergeDrift: failing, zadd: failing, zrange: failing } as never
  const metrics = createProjectorMetrics(createRegistry('test'), { groupId: 'g', topic: 't' })
  const watch = createSenderWatch({ redis, metrics, logger: { warn } }, { keyPrefix: 'p:' })
  watch.sample([
    {
      get offset(): string {
        throw new Error('bug')
      },
    } as never,
  ])
  watch.note([{} as never])
  await watch.save()
  await watch.countSilent()
  expect(warn.mock.calls.map(([fields]) => (fields as { event: string }).event)).toEqual(['sender-watch-failed'])
})
