import { unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { type MadeEvent, makeCustomersEvent } from '@customer-stream/simulator'
import { type Fault, sumOver } from './fault.ts'
import type { Arena, ManagedService } from './harness/arena.ts'

const fullDisk = `--import ${new URL('./full-disk.ts', import.meta.url).href}`

/** Sends events until the answer is 503. This answer must have the header Retry-After. */
const untilRefused = async ({ ingresses, post }: Arena) => {
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

const FILLER = 'x'.repeat(20_000)
const BURST = 100

/**
 * Sends more requests at the same time than each ingress can buffer. Each request must get 503
 * within the time that the sender waits.
 */
export const burst = async ({ ingresses, post }: Arena) => {
  const told = async (ingress: ManagedService, event: MadeEvent) => {
    const startedAt = performance.now()
    const { status, ok } = await post(ingress, event)
    if (ok) throw new Error('an event got 202 that the brokers did not store')
    const ms = performance.now() - startedAt
    if (status !== 503 || ms > 5000) throw new Error(`a request of the burst got ${status} after ${Math.round(ms)} ms`)
  }
  const events = Array.from({ length: BURST * ingresses.length }, () =>
    makeCustomersEvent({ customer: { comments: FILLER } }),
  )
  await Promise.all(
    ingresses.flatMap((ingress, i) => events.slice(i * BURST, (i + 1) * BURST).map((event) => told(ingress, event))),
  )
}

/** Settings with a queue that is too short for a burst. */
export const shortQueue = { QUEUE_MAX_RECORDS: '50', QUEUE_MAX_BYTES: '1114112' }
/** Queues of one ingress: one for each topic. */
const QUEUES = 3

/** Samples the buffered records and bytes of the ingresses until it is stopped. */
export const watchQueues = ({ ingresses }: Arena) => {
  const most = { records: 0, bytes: 0 }
  let watching = true
  const watched = (async () => {
    while (watching) {
      for (const { process } of ingresses) {
        most.records = Math.max(most.records, await process.metric('ingress_queue_records'))
        most.bytes = Math.max(most.bytes, await process.metric('ingress_queue_bytes'))
      }
    }
  })()
  // `stop` reports the error. If the scenario fails before `stop`, ignore this error.
  watched.catch(() => undefined)
  return {
    /** @throws an error if the ingresses buffered too much, or never came near the limit. */
    stop: async () => {
      watching = false
      await watched
      const [maxRecords, maxBytes] = [Number(shortQueue.QUEUE_MAX_RECORDS), Number(shortQueue.QUEUE_MAX_BYTES)]
      if (most.records > QUEUES * maxRecords || most.bytes > QUEUES * maxBytes)
        throw new Error(`the ingresses buffered ${most.records} records and ${most.bytes} bytes`)
      if (most.records < maxRecords)
        throw new Error(`the ingresses buffered at most ${most.records} records: no pressure`)
      if (!(await sumOver(ingresses, 'ingress_published_total', { outcome: 'queue-full' })))
        throw new Error('no queue was ever full')
    },
  }
}

const mustBeAlive = async ({ ingresses }: Arena) => {
  for (const { process } of ingresses) {
    const startedAt = performance.now()
    if (!(await fetch(`${process.adminUrl}/livez`)).ok || performance.now() - startedAt > 1000)
      throw new Error('/livez did not answer immediately')
  }
}

export const pressureFaults: readonly Fault[] = [
  {
    name: 'ingress under pressure',
    how: 'Kafka frozen, a short queue, much load and bursts: bounded, 503 with Retry-After, /livez answers',
    options: { ratePerSecond: 600, ingressEnv: shortQueue },
    inject: async (arena, scale) => {
      const { cluster } = arena
      for (const broker of cluster.brokers) await broker.freeze()
      const queues = watchQueues(arena)
      const until = performance.now() + 3000 + 12_000 * scale
      await burst(arena)
      while (performance.now() < until) await mustBeAlive(arena)
      await untilRefused(arena)
      await queues.stop()
      for (const broker of cluster.brokers) await broker.thaw()
    },
  },
  {
    name: 'disk full, with the spool',
    how:
      'Kafka frozen, then ENOSPC in the middle of a write: 503 with Retry-After, no 202, /livez answers; an ' +
      'ingress killed; continues when there is room',
    options: { spool: true, ingressEnv: { NODE_OPTIONS: fullDisk } },
    inject: async (arena, scale) => {
      const { cluster, ingresses, pipeline, untilPromised } = arena
      const diskIsFull = join(pipeline.folder, 'disk-is-full')
      for (const broker of cluster.brokers) await broker.freeze()
      await untilPromised(200)
      await writeFile(diskIsFull, '')
      // When the 503 arrives, all earlier writes to the disk have been answered.
      await untilRefused(arena)
      const accepted = () => sumOver(ingresses, 'ingress_answers_total', { answer: 'accepted' })
      const before = await accepted()
      const until = performance.now() + 1500 + 10_000 * scale
      while (performance.now() < until) await mustBeAlive(arena)
      if ((await accepted()) !== before) throw new Error('an event got 202 that is not on the disk')
      for (const { process } of ingresses)
        if (!(await process.metric('ingress_spool_errors_total'))) throw new Error('the disk was never full')
      // After the kill, only the disk of this ingress has acknowledged events.
      const [ingress] = ingresses
      await ingress?.kill()
      await ingress?.restart()
      await unlink(diskIsFull)
      await untilPromised(200)
      for (const broker of cluster.brokers) await broker.thaw()
      await waitUntil(
        'the spools are empty',
        () => sumOver(ingresses, 'ingress_spool_bytes'),
        (records) => records === 0,
        { timeoutMs: 60_000 },
      )
    },
  },
]
