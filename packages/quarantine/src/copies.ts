/** Finds further copies of a record in quarantine. */
import { originOf, type Place, placeOf, type QuarantinedRecord } from './record.ts'

/** Maximum number of originals that are remembered. Bounds the memory. */
const MAX_ORIGINALS = 200_000

export const createCopies = () => {
  const first = new Map<string, string>()
  return {
    /**
     * Returns the place of an earlier copy of the same original. Undefined for the first copy, and
     * for a record without a place of its original.
     */
    earlierOf: (record: Place & Pick<QuarantinedRecord, 'headers' | 'receivedAt'>): string | undefined => {
      const origin = originOf(record)
      if (origin === undefined) return undefined
      const earlier = first.get(origin)
      if (earlier === undefined && first.size < MAX_ORIGINALS) first.set(origin, placeOf(record))
      return earlier
    },
  }
}
