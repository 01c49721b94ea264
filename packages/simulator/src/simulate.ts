import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { createDelivery } from './delivery.ts'
import { type LedgerEntry, ledgerEntry, openLedger } from './ledger.ts'
import { randomSeed } from './random.ts'
import { createSemaphore } from './semaphore.ts'
import { type AttemptResult, createSender } from './sender.ts'
import { makeSequence, type SequencedEvent } from './sequence.ts'
import { signingKey } from './signature.ts'

export interface SimulationOptions {
  readonly url: string
  readonly secret: string
  readonly token: string
  readonly events: number
  readonly customers: number
  /**
   * New events per second, without retries and repeats. Default: 0, which means no limit except
   * `concurrency`.
   */
  readonly ratePerSecond?: number
  /** Maximum requests in flight. Default: 64. */
  readonly concurrency?: number
  /**
   * The seed and `newestTimestamp` determine all events. Use a seed only once in a system, because
   * the same seed makes the same event ids.
   */
  readonly seed?: number
  readonly newestTimestamp?: number
  /**
   * Shares of the events, from 0 to 1: repeats, disorder, torn answers, other types. Default: 0
   * each.
   */
  readonly repeats?: number
  readonly disorder?: number
  readonly drops?: number
  readonly other?: number
  /**
   * Mean wait before the first retry, in milliseconds. Each later wait is twice as long. Default:
   * 1000.
   */
  readonly retryBaseMs?: number
  /** Timeout of each attempt. Default: 5000, as myKaarma documents. */
  readonly timeoutMs?: number
  readonly ledgerPath?: string
  /** Stops new events and retries. Requests in flight still get their answers. */
  readonly signal?: AbortSignal
  readonly onFirstFailedConnection?: (reason: string) => void
  readonly onPromise?: (entry: LedgerEntry) => void
}

export interface SimulationProgress {
  /**
   * Number of distinct events. At the end of a run each event has one of three results: promised
   * (answered with 2xx), lost or stopped.
   */
  made: number
  attempts: number
  /** Distinct events answered with 2xx at least once. */
  promised: number
  /**
   * Number of 2xx answers, answers to repeats included. Equals the number of lines in the ledger.
   */
  promises: number
  /** Answers that were not 2xx. */
  refused: number
  dropped: number
  timedOut: number
  failedConnections: number
  /** Number of connections that ended before the request was sent, by error code. */
  connectionErrors: Record<string, number>
  /** Complete requests whose connection the server closed without an answer. */
  cutOff: number
  /** Events whose six attempts all failed. */
  lost: number
  /** Events whose retries were ended by the signal. */
  stopped: number
  /** Repeated deliveries of events that had already got a 2xx. */
  repeats: number
  statuses: Record<number, number>
}

export interface Simulation {
  readonly seed: number
  readonly newestTimestamp: number
  readonly progress: SimulationProgress
  /**
   * Resolves when each event has one of these results: answered with 2xx (promised), failed six
   * times (lost), or stopped. The ledger file then has all 2xx answers.
   */
  run(): Promise<SimulationProgress>
}

// Maximum number of events that wait for their next attempt. At this number the simulator creates
// no new events, so that memory stays bounded during an outage.
const MAX_UNFINISHED = 10_000
const LONGEST_REPEAT_DELAY_EVENTS = 200

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share one count
export function createSimulation(options: SimulationOptions): Simulation {
  const { url, token, concurrency = 64, seed = randomSeed(), newestTimestamp = Date.now() } = options
  const {
    ratePerSecond = 0,
    repeats = 0,
    disorder = 0,
    drops = 0,
    other = 0,
    retryBaseMs = 1000,
    timeoutMs = 5000,
  } = options
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

  // biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share one state
  async function run(): Promise<SimulationProgress> {
    const stop = new AbortController()
    setMaxListeners(0, stop.signal)
    const onAbort = (): void => stop.abort()
    if (options.signal?.aborted) stop.abort()
    options.signal?.addEventListener('abort', onAbort)
    const ledger = options.ledgerPath === undefined ? undefined : openLedger(options.ledgerPath)
    const sender = createSender({ url, token, timeoutMs, connections: concurrency })
    const inFlight = createSemaphore(concurrency)
    const unfinished = createSemaphore(concurrency + MAX_UNFINISHED)
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
      const entry = ledgerEntry(event, body, result)
      ledger?.append(entry)
      options.onPromise?.(entry)
      if (!isRepeat && event.random.chance(repeats)) {
        repeatable.push({ event, body, dueAtMade: progress.made + event.random.below(LONGEST_REPEAT_DELAY_EVENTS) })
      }
    }

    /** Resolves with false if the simulation was stopped during the wait. */
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
      for (const event of makeSequence({
        seed,
        events: options.events,
        customers: options.customers,
        newestTimestamp,
        other,
        disorder,
      })) {
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
