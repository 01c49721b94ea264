import { waitUntil } from '@customer-stream/runtime'
import { createSimulation, makeSequence, type Simulation } from '@customer-stream/simulator'
import { fingerprint, sha256 } from '@customer-stream/verify'

/** Counts of the senders. `made` and `promised` count each event once, even if it was repeated. */
export interface SenderTotals {
  /**
   * Distinct events that the senders began to deliver. At the end each event is promised (answered
   * with 2xx), lost or stopped.
   */
  readonly made: number
  readonly promised: number
  readonly lost: number
  readonly stopped: number
  /** 2xx answers that the senders received, including answers to repeats. */
  readonly heard: number
}

/** The load of one scenario: one sender for each ingress, and one ledger for all. */
export interface Senders {
  /** Returns the number of events that were promised (answered with 2xx) so far. */
  promised(): number
  refused(): number
  statuses(): Readonly<Record<number, number>>
  /**
   * Returns the attempts without an answer, except attempts that the senders cut off on purpose.
   * `timedOut`: no answer within 5 s, the timeout of the vendor.
   */
  unanswered(): { readonly timedOut: number; readonly failedConnections: number; readonly cutOff: number }
  totals(): SenderTotals
  /** Resolves when `more` further events have been promised. */
  untilPromised(more: number, timeoutMs?: number): Promise<void>
  /**
   * Yields the fingerprints of all events that the senders began to deliver, computed from the
   * seed.
   */
  sentEvents(): Iterable<string>
  readonly ledgerPath: string
  stopLoad(): Promise<void>
}

export interface SendersOptions {
  readonly secret: string
  readonly token: string
  readonly ledgerPath: string
  readonly seed: number
  /** Events per second of each sender. */
  readonly ratePerSecond?: number
}

export const startSenders = (urls: readonly string[], options: SendersOptions): Senders => {
  const { secret, token, ledgerPath, seed, ratePerSecond = 250 } = options
  const stop = new AbortController()
  // `events` is more than any run sends, because `stopLoad` ends the load earlier.
  const sequence = { events: 1_000_000, customers: 300, disorder: 0.1, other: 0.05 }
  const simulations: Simulation[] = urls.map((url, i) =>
    createSimulation({
      ...sequence,
      url: `${url}/webhooks/mykaarma`,
      secret,
      token,
      ratePerSecond,
      concurrency: 64,
      seed: seed + i,
      repeats: 0.05,
      drops: 0.02,
      retryBaseMs: 300,
      ledgerPath,
      signal: stop.signal,
    }),
  )
  const sending = Promise.all(simulations.map((simulation) => simulation.run()))
  // `stopLoad` throws the error. Until that call, this handler prevents an unhandled rejection.
  sending.catch(() => undefined)
  const sum = (of: (progress: Simulation['progress']) => number) =>
    simulations.reduce((total, { progress }) => total + of(progress), 0)
  const promised = () => sum((progress) => progress.promised)
  const statuses = () => {
    const counts: Record<number, number> = {}
    for (const { progress } of simulations)
      for (const [status, count] of Object.entries(progress.statuses))
        counts[Number(status)] = (counts[Number(status)] ?? 0) + count
    return counts
  }

  return {
    promised,
    refused: () => sum((progress) => progress.refused),
    statuses,
    unanswered: () => ({
      timedOut: sum((progress) => progress.timedOut),
      failedConnections: sum((progress) => progress.failedConnections),
      cutOff: sum((progress) => progress.cutOff),
    }),
    totals: () => ({
      made: sum((progress) => progress.made),
      promised: promised(),
      lost: sum((progress) => progress.lost),
      stopped: sum((progress) => progress.stopped),
      heard: Object.entries(statuses()).reduce(
        (heard, [status, count]) => (status.startsWith('2') ? heard + count : heard),
        0,
      ),
    }),
    untilPromised: async (more, timeoutMs = 60_000) => {
      const wanted = promised() + more
      await waitUntil(`${more} more events are promised`, promised, (count) => count >= wanted, { timeoutMs })
    },
    sentEvents: function* () {
      for (const { seed: simulationSeed, newestTimestamp, progress } of simulations) {
        let left = progress.made
        for (const { customerUuid, body } of makeSequence({ ...sequence, seed: simulationSeed, newestTimestamp })) {
          if (left === 0) break
          left -= 1
          yield fingerprint(customerUuid, sha256(body))
        }
      }
    },
    ledgerPath,
    stopLoad: async () => {
      stop.abort()
      await sending
    },
  }
}
