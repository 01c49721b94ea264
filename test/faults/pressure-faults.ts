import { unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { type Arena, waitUntil } from '@customer-stream/testing'
import type { Fault } from './fault.ts'

const fullDisk = `--import ${new URL('./full-disk.ts', import.meta.url).href}`

/** Sends until the answer is 503, which must say when to come again. */
const untilToldToComeAgain = async ({ ingresses, post }: Arena) => {
  await Promise.all(
    ingresses.map(async (ingress) => {
      const answer = await waitUntil(
        'an ingress answers 503',
        () => post(ingress, makeCustomersEvent()),
        ({ status }) => status === 503,
      )
      const retryAfter = answer.headers.get('retry-after')
      if (!/^[1-9]\d*$/.test(retryAfter ?? '')) throw new Error(`503 came with Retry-After ${retryAfter}`)
    }),
  )
}

const mustBeAlive = async ({ ingresses }: Arena) => {
  for (const { process } of ingresses) {
    const startedAt = performance.now()
    if (!(await fetch(`${process.adminUrl}/livez`)).ok || performance.now() - startedAt > 1000)
      throw new Error('/livez did not answer at once')
  }
}

export const pressureFaults: readonly Fault[] = [
  {
    name: 'ingress under pressure',
    how: 'Kafka frozen, a short queue, much load: bounded, 503 with Retry-After, /livez answers',
    options: { ratePerSecond: 600, ingressEnv: { QUEUE_MAX_RECORDS: '50' } },
    inject: async (arena, scale) => {
      const { cluster, ingresses } = arena
      for (const broker of cluster.brokers) await broker.freeze()
      const until = performance.now() + 3000 + 12_000 * scale
      let mostHeld = 0
      while (performance.now() < until) {
        for (const { process } of ingresses) mostHeld = Math.max(mostHeld, await process.metric('ingress_queue_records'))
        await mustBeAlive(arena)
      }
      await untilToldToComeAgain(arena)
      for (const broker of cluster.brokers) await broker.thaw()
      // Three lanes, one for each topic.
      if (mostHeld > 150) throw new Error(`${mostHeld} records were held, 150 are allowed`)
    },
  },
  {
    name: 'disk full, with the spool',
    how: 'Kafka frozen, then ENOSPC in the midst of a write: 503 with Retry-After, no promise, /livez answers; an ingress killed; goes on when there is room',
    options: { spool: true, ingressEnv: { NODE_OPTIONS: fullDisk } },
    inject: async (arena, scale) => {
      const { cluster, ingresses, pipeline, promised, untilPromised } = arena
      const diskIsFull = join(pipeline.folder, 'disk-is-full')
      for (const broker of cluster.brokers) await broker.freeze()
      await untilPromised(200)
      await writeFile(diskIsFull, '')
      // Answered last of all that had been written before.
      await untilToldToComeAgain(arena)
      const before = promised()
      const until = performance.now() + 1500 + 10_000 * scale
      while (performance.now() < until) await mustBeAlive(arena)
      if (promised() !== before) throw new Error('a promise was given that is not on the disk')
      for (const { process } of ingresses)
        if (!(await process.metric('ingress_spool_errors_total'))) throw new Error('the disk was never full')
      // What it promised is now on its disk or nowhere.
      const [ingress] = ingresses
      await ingress?.kill()
      await ingress?.restart()
      await unlink(diskIsFull)
      await untilPromised(200)
      for (const broker of cluster.brokers) await broker.thaw()
      await waitUntil(
        'the spools are empty',
        async () => (await Promise.all(ingresses.map(({ process }) => process.metric('ingress_spool_records')))).reduce((a, b) => a + b),
        (records) => records === 0,
        { timeoutMs: 60_000 },
      )
    },
  },
]
