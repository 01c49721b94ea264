import { unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '@customer-stream/runtime'
import { type MadeEvent, makeCustomersEvent } from '@customer-stream/simulator'
import { untilReplicated } from './broker-faults.ts'
import { type Fault, lasting, sumOver } from './fault.ts'
import type { FaultHarness } from './harness/fault-harness.ts'
import type { ManagedService } from './harness/managed-services.ts'

const fullDisk = `--import ${new URL('./full-disk.ts', import.meta.url).href}`

/** Sends events until the answer is 503. This answer must have the header Retry-After. */
const untilRefused = async ({ ingresses, post }: FaultHarness) => {
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
 * Sends more requests to each ingress at the same time than it can buffer. Each request must get
 * 503 before the sender's timeout.
 */
const burst = async ({ ingresses, post }: FaultHarness) => {
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
const shortQueue = { QUEUE_MAX_RECORDS: '50', QUEUE_MAX_BYTES: '1114112' }
/** Queues of one ingress: one for each topic. */
const QUEUES = 3

/** Without this pause, the samples would use a whole core and delay the answers to the senders. */
const SAMPLE_PAUSE_MS = 20

/**
 * Measures the buffered records and bytes of the ingresses again and again, until `stop` is called.
 */
const watchQueues = ({ ingresses }: FaultHarness) => {
  const most = { records: 0, bytes: 0 }
  let watching = true
  const watched = (async () => {
    while (watching) {
      for (const { process } of ingresses) {
        most.records = Math.max(most.records, await process.metric('ingress_queue_records'))
        most.bytes = Math.max(most.bytes, await process.metric('ingress_queue_bytes'))
      }
      await sleep(SAMPLE_PAUSE_MS)
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

/**
 * Requests /livez until this time of `performance.now()`. Throws if an answer needs more than 1 s.
 */
const mustStayAlive = async ({ ingresses }: FaultHarness, until: number) => {
  while (performance.now() < until) {
    for (const { process } of ingresses) {
      const startedAt = performance.now()
      if (!(await fetch(`${process.adminUrl}/livez`)).ok || performance.now() - startedAt > 1000)
        throw new Error('/livez did not answer immediately')
    }
    await sleep(SAMPLE_PAUSE_MS)
  }
}

export const pressureFaults: readonly Fault[] = [
  {
    name: 'ingress under pressure',
    how: 'Kafka is frozen while short queues get bursts: memory is bounded, 503 has Retry-After, /livez answers',
    options: { ratePerSecond: 600, ingressEnv: shortQueue },
    inject: async (harness, scale) => {
      const { cluster } = harness
      for (const broker of cluster.brokers) await broker.freeze()
      const queues = watchQueues(harness)
      const until = performance.now() + 3000 + 12_000 * scale
      await burst(harness)
      await mustStayAlive(harness, until)
      await untilRefused(harness)
      await queues.stop()
      for (const broker of cluster.brokers) await broker.thaw()
    },
  },
  {
    name: 'disk full, with the spool',
    how:
      'Kafka is frozen, then a write ends with ENOSPC: 503 with Retry-After, no 202, /livez answers; an ingress is ' +
      'killed; events get 202 again when the disk has room',
    options: { spool: true, ingressEnv: { NODE_OPTIONS: fullDisk } },
    inject: async (harness, scale) => {
      const { cluster, ingresses, pipeline, untilPromised } = harness
      const diskIsFull = join(pipeline.folder, 'disk-is-full')
      for (const broker of cluster.brokers) await broker.freeze()
      await untilPromised(200)
      await writeFile(diskIsFull, '')
      // When the 503 arrives, all earlier writes to the disk have been answered.
      await untilRefused(harness)
      const accepted = () => sumOver(ingresses, 'ingress_answers_total', { answer: 'accepted' })
      const before = await accepted()
      await mustStayAlive(harness, performance.now() + 1500 + 10_000 * scale)
      if ((await accepted()) !== before) throw new Error('an event got 202 that is not on the disk')
      for (const { process } of ingresses)
        if (!(await process.metric('ingress_spool_errors_total'))) throw new Error('the disk was never full')
      // Kill an ingress. Its acknowledged events are then only on its disk.
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
  {
    name: 'too few replicas',
    how: 'two of three brokers are down during bursts: 503 within the deadline, never 2xx, no memory growth',
    options: { ingressEnv: shortQueue },
    inject: async (harness, scale, random) => {
      const spared = random.pick(harness.cluster.brokers)
      const [first, second] = harness.cluster.brokers.filter((broker) => broker !== spared)
      const { ingresses } = harness
      const accepted = () => sumOver(ingresses, 'ingress_answers_total', { answer: 'accepted' })
      await Promise.all([first?.kill(), second?.kill()])
      // Wait for the acknowledgements of records that all replicas have stored.
      await lasting(1000)
      const promised = await accepted()
      const { timedOut } = harness.unanswered()
      const queues = watchQueues(harness)
      const memory = async () =>
        Promise.all(ingresses.map(({ process }) => process.metric('process_resident_memory_bytes')))
      const before = await memory()
      await burst(harness)
      await lasting(1500 + 10_000 * scale)
      await burst(harness)
      const after = await memory()
      await queues.stop()
      if ((await accepted()) !== promised) throw new Error('an event got 202 that is on too few brokers')
      if (harness.unanswered().timedOut > timedOut)
        throw new Error('a request got no answer in the time that the sender waits')
      const grown = after.map((bytes, i) => (bytes - (before[i] ?? 0)) / 1024 / 1024)
      if (grown.some((mib) => mib > 100)) throw new Error(`memory grew by ${grown.map(Math.round).join(' and ')} MiB`)
      await Promise.all([first?.restart(), second?.restart()])
      await untilReplicated(harness)
    },
  },
  {
    name: 'disk of Kafka full',
    how:
      'a broker whose writes fail ends itself; then all brokers end, and no event gets 202; they start again when ' +
      'the disk has room, and events get 202',
    inject: async (harness, scale, random) => {
      const { brokers } = harness.cluster
      const first = random.pick(brokers)
      await first.fillDisk()
      await harness.untilPromised(200 + 500 * scale)
      await first.restart()
      await untilReplicated(harness)
      await Promise.all(brokers.map((broker) => broker.fillDisk()))
      const accepted = () => sumOver(harness.ingresses, 'ingress_answers_total', { answer: 'accepted' })
      const before = await accepted()
      await burst(harness)
      await lasting(1500 + 10_000 * scale)
      if ((await accepted()) !== before) throw new Error('an event got 202 that is not on a disk')
      await Promise.all(brokers.map((broker) => broker.restart()))
      await untilReplicated(harness)
      await harness.untilPromised(100)
    },
  },
]
