import { setTimeout as sleep } from 'node:timers/promises'
import { compareVersions, type Version } from '@customer-stream/schemas'
import type { Reading, StoredVersion } from './customers.ts'

const FIRST_PAUSE_MS = 10
const LONGEST_PAUSE_MS = 200

export interface ReadsOfWait {
  /** Called again and again, so it should be cheap. */
  readonly readVersion: () => Promise<StoredVersion | undefined>
  readonly read: () => Promise<Reading>
}

/**
 * Waits until Redis has this version of a customer or a newer one, with its entries in indexes. A
 * search then finds the customer. Ends at the deadline, or when the signal aborts.
 * @returns the customer, and whether it has the version.
 */
export const waitForVersion = async (
  { readVersion, read }: ReadsOfWait,
  version: Version,
  { waitMs, signal }: { readonly waitMs: number; readonly signal: AbortSignal },
): Promise<{ readonly reading: Reading; readonly isReached: boolean }> => {
  const isIt = (stored: Omit<StoredVersion, 'dealerUuid'>) =>
    stored.isIndexed && compareVersions(stored.version, version) >= 0
  const deadline = performance.now() + waitMs
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    const stored = await readVersion()
    const leftMs = deadline - performance.now()
    const isLast = leftMs <= 0 || signal.aborted
    if (isLast || (stored && isIt(stored))) {
      const reading = await read()
      const isReached = reading.kind === 'found' && isIt({ ...reading, version: reading.customer.version })
      // Redis may have lost the version between the two reads.
      if (isReached || isLast) return { reading, isReached }
    }
    await sleep(Math.min(pauseMs, Math.max(leftMs, 0)), undefined, { signal }).catch(() => undefined)
  }
}
