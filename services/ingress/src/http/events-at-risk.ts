import { hash } from 'node:crypto'

/**
 * Remembers each event that got 503 and was not accepted later. Keeps only the hash of its body.
 * The sender stops after six attempts, so these events may be lost. This process does not see a
 * repeat that another ingress accepts, so the number is an upper limit.
 */
export interface EventsAtRisk {
  readonly size: number
  refused(body: Uint8Array): void
  accepted(body: Uint8Array): void
}

/**
 * @param limit maximum number of remembered events, about 150 bytes each. At the limit, the event
 *   with the oldest refusal is forgotten.
 * @param forgetAfterMs time from the last refusal of an event until the event is forgotten. The
 *   sender repeats no event after this time.
 */
export const createEventsAtRisk = ({
  limit = 10_000,
  forgetAfterMs = 24 * 3_600_000,
  now = () => performance.now(),
} = {}): EventsAtRisk => {
  /** Time of the last refusal of each event, oldest first. */
  const refusedAt = new Map<string, number>()
  const keyOf = (body: Uint8Array) => hash('sha256', body, 'base64')
  const forgetOld = () => {
    for (const [key, at] of refusedAt) {
      if (refusedAt.size <= limit && now() - at < forgetAfterMs) return
      refusedAt.delete(key)
    }
  }
  return {
    get size() {
      forgetOld()
      return refusedAt.size
    },
    refused: (body) => {
      const key = keyOf(body)
      // Delete and insert the event, so that the map stays in the order of the times.
      refusedAt.delete(key)
      refusedAt.set(key, now())
      forgetOld()
    },
    accepted: (body) => {
      // Usually no event is at risk. Compute no hash in this case.
      if (refusedAt.size > 0) refusedAt.delete(keyOf(body))
    },
  }
}
