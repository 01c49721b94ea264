import { setTimeout as sleep } from 'node:timers/promises'
import { compareVersions, type Version } from '@customer-stream/schemas'
import type { Reading } from './customers.ts'

const FIRST_PAUSE_MS = 10
const LONGEST_PAUSE_MS = 200

/**
 * Reads a customer again and again until Redis has this version or a newer one, with its entries in
 * indexes. A search then finds the customer. Ends at the deadline, or when the signal aborts.
 * @returns the last reading, and whether it has the version.
 */
export const waitForVersion = async (
  read: () => Promise<Reading>,
  version: Version,
  { waitMs, signal }: { readonly waitMs: number; readonly signal: AbortSignal },
): Promise<{ readonly reading: Reading; readonly isReached: boolean }> => {
  const deadline = performance.now() + waitMs
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    const reading = await read()
    const isReached =
      reading.kind === 'found' && reading.isIndexed && compareVersions(reading.customer.version, version) >= 0
    const leftMs = deadline - performance.now()
    if (isReached || leftMs <= 0 || signal.aborted) return { reading, isReached }
    await sleep(Math.min(pauseMs, leftMs), undefined, { signal }).catch(() => undefined)
  }
}
