import { hash } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { createDelivery } from './delivery.ts'
import type { LedgerEntry } from './ledger.ts'
import { openLedger } from './ledger.ts'
import { createPermits } from './permits.ts'
import { randomSeed } from './random.ts'
import { type AttemptResult, createSender } from './sender.ts'
import { makeSequence, type SequencedEvent } from './sequence.ts'
import { signingKey } from './signature.ts'

export interface SimulationOptions {
  readonly url: string
  readonly secret: string
  readonly token: string
  readonly events: number
  readonly customers: number
  /** New events per second; retries and repeats come on top. 0, the default: as fast as the answers come. */
  readonly ratePerSecond?: number
  /** Requests in flight, 64 by default. */
  readonly concurrency?: number
  /** Fixes what is sent, together with `newestTimestamp`. The same seed makes the same event ids: give a system a seed once. */
  readonly seed?: number
  readonly newestTimestamp?: number
  /** Shares from 0 to 1, all 0 by default. */
  readonly repeats?: number
  readonly disorder?: number
  readonly drops?: number
  readonly other?: number
  /** Mean wait before the first retry, doubled for each further one; 1000 by default. */
  readonly retryBaseMs?: number
  /** Per attempt; the vendor's 5000 by default. */
  readonly timeoutMs?: number
  readonly ledgerPath?: string
  /** Stops making events and retrying; answers under way are still awaited. */
  readonly signal?: AbortSignal
  readonly onFirstFailedConnection?: (reason: string) => void
  readonly onPromise?: (entry: LedgerEntry) => void
}

export interface SimulationProgress {
  /** Distinct events handed to delivery. After a run each is promised, lost or stopped. */
  made: number
  attempts: number
  /** Distinct events answered with 2xx at least once. */
  promised: number
  /** All 2xx answers, those to repeats included: the lines of the ledger. */
  promises: number
  /** Answers that were not 2xx. */
  refused: number
  dropped: number
  timedOut: number
  failedConnections: number
  /** How often each error code ended a connection before the request was written. */
  connectionErrors: Record<string, number>
  /** Requests written as a whole whose connection the other side then ended without an answer. */
  cutOff: number
  /** Events whose six attempts all failed. */
  lost: number
  /** Events given up by a stop, between two attempts. */
  stopped: number
  /** Deliveries begun of an event that had been promised before. */
  repeats: number
  statuses: Record<number, number>
}

export interface Simulation {
  readonly seed: number
  readonly newestTimestamp: number
  readonly progress: SimulationProgress
  /** Resolves when every event is promised or lost, or all is stopped; by then every promise is in the ledger file. */
  run(): Promise<SimulationProgress>
}

// Bounds the memory of an outage: past this many events between attempts no new ones are made.
const MAX_UNFINISHED = 10_000
const LONGEST_REPEAT_DELAY_EVENTS = 200

export function createSimulation(options: SimulationOptions): Simulation {
  const { url, token, concurrency = 64, seed = randomSeed(), newestTimestamp = Date.now() } = options
  const { ratePerSecond = 0, repeats = 0, disorder = 0, drops = 0, other = 0, retryBaseMs = 1000, timeoutMs = 5000 } = options
  const progress: SimulationProgress = {
    made: 0,
    attempts: 0,
    promised: 0,
    promises: 0,
    refused: 0,
    dropped: 0,
    timedOut: 0,
    failedConnections: 0,
    connectionErrors: {},
    cutOff: 0,
    lost: 0,
    stopped: 0,
    repeats: 0,
    statuses: {},
  }

  async function run(): Promise<SimulationProgress> {
    const stop = new AbortController()
    setMaxListeners(0, stop.signal)
    const onAbort = (): void => stop.abort()
    if (options.signal?.aborted) stop.abort()
    options.signal?.addEventListener('abort', onAbort)
    const ledger = options.ledgerPath === undefined ? undefined : openLedger(options.ledgerPath)
    const sender = createSender({ url, token, timeoutMs, connections: concurrency })
    const inFlight = createPermits(concurrency)
    const unfinished = createPermits(concurrency + MAX_UNFINISHED)
    const deliver = createDelivery({
      sender,
      key: signingKey(options.secret),
      inFlight,
      drops,
      retryBaseMs,
      signal: stop.signal,
      onAttempt,
    })
    const running = new Set<Promise<void>>()
    const repeatable: { event: SequencedEvent; body: Uint8Array; dueAtMade: number }[] = []
    let failure: unknown

    async function handOver(event: SequencedEvent, body: Uint8Array, isRepeat: boolean): Promise<void> {
      const result = await deliver(body, event.random)
      if (result.outcome !== 'promised' && !isRepeat) progress[result.outcome]++
      if (result.outcome !== 'promised') return
      progress.promises++
      if (!isRepeat) progress.promised++
      const { id, timestamp, type, customerUuid, random } = event
      const { attempt, status } = result
      const entry: LedgerEntry = {
        id,
        timestamp,
        type,
        customerUuid,
        sha256: hash('sha256', body),
        promisedAt: Date.now(),
        attempt,
        status,
      }
      ledger?.append(entry)
      options.onPromise?.(entry)
      if (!isRepeat && random.chance(repeats)) {
        repeatable.push({ event, body, dueAtMade: progress.made + random.below(LONGEST_REPEAT_DELAY_EVENTS) })
      }
    }

    /** False when stopped in the meantime. */
    async function begin(event: SequencedEvent, body: Uint8Array, isRepeat = false): Promise<boolean> {
      await unfinished.take()
      await inFlight.take()
      if (stop.signal.aborted) {
        inFlight.give()
        return false
      }
      progress[isRepeat ? 'repeats' : 'made']++
      const delivery = handOver(event, body, isRepeat)
        .catch((error: unknown) => {
          failure ??= error
          stop.abort()
        })
        .finally(() => {
          unfinished.give()
          running.delete(delivery)
        })
      running.add(delivery)
      return true
    }

    async function beginRepeats(made: number): Promise<void> {
      while (repeatable.length > 0 && repeatable[0]!.dueAtMade <= made && !stop.signal.aborted) {
        const { event, body } = repeatable.shift()!
        await begin(event, body, true)
      }
    }

    try {
      const startedAt = performance.now()
      for (const event of makeSequence({ seed, events: options.events, customers: options.customers, newestTimestamp, other, disorder })) {
        const aheadMs = ratePerSecond > 0 ? startedAt + (progress.made / ratePerSecond) * 1000 - performance.now() : 0
        if (aheadMs > 0) await delay(aheadMs, undefined, { signal: stop.signal }).catch(() => {})
        if (stop.signal.aborted || !(await begin(event, Buffer.from(event.body)))) break
        await beginRepeats(progress.made)
      }
      while (running.size > 0 || (repeatable.length > 0 && !stop.signal.aborted)) {
        await beginRepeats(Number.POSITIVE_INFINITY)
        await Promise.all(running)
      }
    } finally {
      options.signal?.removeEventListener('abort', onAbort)
      await sender.close()
      ledger?.close()
    }
    if (failure !== undefined) throw failure
    return progress
  }

  function onAttempt(result: AttemptResult): void {
    progress.attempts++
    if (result.outcome === 'answered') {
      progress.statuses[result.status] = (progress.statuses[result.status] ?? 0) + 1
      if (result.status < 200 || result.status > 299) progress.refused++
    } else if (result.outcome === 'connectionFailed') {
      if (progress.failedConnections++ === 0) options.onFirstFailedConnection?.(result.reason)
      progress.connectionErrors[result.reason] = (progress.connectionErrors[result.reason] ?? 0) + 1
    } else progress[result.outcome]++
  }

  return { seed, newestTimestamp, progress, run }
}
