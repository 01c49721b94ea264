import type { KeyObject } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Random } from './random.ts'
import type { Semaphore } from './semaphore.ts'
import type { AttemptResult, Sender } from './sender.ts'
import { sign } from './signature.ts'

/** The first attempt and five retries, as myKaarma documents. */
export const MAX_ATTEMPTS = 6

export type DeliveryResult =
  | { readonly outcome: 'promised'; readonly status: number; readonly attempt: number }
  | { readonly outcome: 'lost' | 'stopped' }

export interface DeliveryOptions {
  readonly sender: Sender
  readonly key: KeyObject
  /**
   * Limits the requests in flight. The caller acquires the permit for the first attempt. A delivery
   * returns its permit while it waits for its next attempt.
   */
  readonly inFlight: Semaphore
  readonly drops: number
  readonly retryBaseMs: number
  /** Ends the retries. An attempt in flight still waits for its answer. */
  readonly signal: AbortSignal
  readonly onAttempt: (result: AttemptResult) => void
}

/** Sends one body until the answer is 2xx, or until all attempts have failed. */
export function createDelivery({ sender, key, inFlight, drops, retryBaseMs, signal, onAttempt }: DeliveryOptions) {
  return async function deliver(body: Uint8Array, random: Random): Promise<DeliveryResult> {
    const signature = sign(body, key)
    for (let attempt = 1; ; attempt++) {
      // The sender closes some connections after a random time below 10 ms: some before the server
      // answers, others before the sender reads the answer.
      const result = await sender.send(body, signature, random.chance(drops) ? random.below(10) : undefined)
      inFlight.give()
      onAttempt(result)
      if (result.outcome === 'answered' && result.status >= 200 && result.status < 300) {
        return { outcome: 'promised', status: result.status, attempt }
      }
      if (attempt === MAX_ATTEMPTS) return { outcome: 'lost' }
      await delay(retryBaseMs * 2 ** (attempt - 1) * (0.5 + random.next()), undefined, { signal }).catch(() => {})
      await inFlight.take()
      if (signal.aborted) {
        inFlight.give()
        return { outcome: 'stopped' }
      }
    }
  }
}
