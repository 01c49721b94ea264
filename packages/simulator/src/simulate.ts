import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { createDeliveries } from './deliveries.ts'
import { createDelivery } from './delivery.ts'
import { type LedgerEntry, ledgerEntry, openLedger } from './ledger.ts'
import { countAttempt, emptyProgress, type SimulationProgress } from './progress.ts'
import { randomSeed } from './random.ts'
import { createSemaphore } from './semaphore.ts'
import { createSender } from './sender.ts'
import { makeSequence } from './sequence.ts'
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
  /** Share of the accepted events that are sent again, 0 to 1. Default: 0. */
  readonly repeats?: number
  /** Share of the events that are sent after a newer event of the customer, 0 to 1. Default: 0. */
  readonly disorder?: number
  /** Share of the requests that are cut off before the answer is read, 0 to 1. Default: 0. */
  readonly drops?: number
  /** Share of the events that have another type than customers, 0 to 1. Default: 0. */
  readonly other?: number
  /**
   * Mean wait before the first retry, in milliseconds. Each later wait is twice as long. Default:
   * 1000.
   */
  readonly retryBaseMs?: number
  /** Timeout of each attempt, in milliseconds. Default: 5000, as myKaarma documents. */
  readonly timeoutMs?: number
  readonly ledgerPath?: string
  /** Stops new events and retries. Requests in flight still get their answers. */
  readonly signal?: AbortSignal
  readonly onFirstFailedConnection?: (reason: string) => void
  readonly onPromise?: (entry: LedgerEntry) => void
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

export function createSimulation(options: SimulationOptions): Simulation {
  const { url, token, concurrency = 64, seed = randomSeed(), newestTimestamp = Date.now() } = options
  const { ratePerSecond = 0, repeats = 0, disorder = 0, drops = 0, other = 0 } = options
  const { retryBaseMs = 1000, timeoutMs = 5000 } = options
  const progress = emptyProgress()

  async function run(): Promise<SimulationProgress> {
    const stop = new AbortController()
    const { signal } = stop
    setMaxListeners(0, signal)
    const onAbort = (): void => stop.abort()
    if (options.signal?.aborted) stop.abort()
    options.signal?.addEventListener('abort', onAbort)
    const ledger = options.ledgerPath === undefined ? undefined : openLedger(options.ledgerPath)
    const sender = createSender({ url, token, timeoutMs, connections: concurrency })
    const inFlight = createSemaphore(concurrency)
    const deliver = createDelivery({
      sender,
      key: signingKey(options.secret),
      inFlight,
      drops,
      retryBaseMs,
      signal,
      onAttempt: (result) => countAttempt(progress, result, options.onFirstFailedConnection),
    })
    const deliveries = createDeliveries({
      deliver,
      inFlight,
      concurrency,
      repeats,
      progress,
      stop,
      onPromise: (event, body, result) => {
        const entry = ledgerEntry(event, body, result)
        ledger?.append(entry)
        options.onPromise?.(entry)
      },
    })
    try {
      const startedAt = performance.now()
      const { events, customers } = options
      for (const event of makeSequence({ seed, events, customers, newestTimestamp, other, disorder })) {
        const aheadMs = ratePerSecond > 0 ? startedAt + (progress.made / ratePerSecond) * 1000 - performance.now() : 0
        if (aheadMs > 0) await delay(aheadMs, undefined, { signal }).catch(() => {})
        if (signal.aborted || !(await deliveries.begin(event))) break
      }
      await deliveries.finish()
    } finally {
      options.signal?.removeEventListener('abort', onAbort)
      await sender.close()
      ledger?.close()
    }
    return progress
  }

  return { seed, newestTimestamp, progress, run }
}
