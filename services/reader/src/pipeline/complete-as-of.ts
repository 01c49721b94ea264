/**
 * Finds the time up to which Redis has every event. Each measurement notes the ends of the raw
 * topic. If all positions have reached these ends, Redis has every event that Kafka had at the time
 * of the measurement.
 */
import type { CompleteAsOf, Measurement } from './measurement.ts'

type Part = Pick<Measurement, 'raw' | 'progress'>
type Offsets = ReadonlyMap<number, bigint>

/** Returns the newest known time. Undefined if none is known. */
export type FindCompleteAsOf = (measurement: Part) => CompleteAsOf | undefined

interface Ends extends CompleteAsOf {
  readonly ends: Offsets
}

const NONE: Offsets = new Map()
/**
 * Maximum number of noted measurements. The reader measures every 10 s, so these cover one hour.
 */
const MAX_NOTED = 360

/** Returns undefined if the end of one partition is not known. */
const endsOf = ({ raw }: Part): Ends | undefined => {
  if (raw === undefined || raw.partitions === 0 || raw.watermarks.size < raw.partitions) return undefined
  const marks = [...raw.watermarks]
  const offsets = (of: typeof marks) => new Map(of.map(([partition, { high }]) => [partition, BigInt(high)] as const))
  return { at: raw.askedAt, ends: offsets(marks), toReach: offsets(marks.filter(([, { low, high }]) => low !== high)) }
}

/** Returns undefined if Redis may lack customers. */
const completeOf = ({ progress }: Pick<Part, 'progress'>): Offsets | undefined =>
  typeof progress === 'object' && progress.isFilled ? progress.complete : undefined

const hasReached = (offsets: Offsets, ends: Offsets): boolean =>
  [...ends].every(([partition, end]) => (offsets.get(partition) ?? -1n) >= end)

/**
 * Returns false if Redis has lost positions since the time was found. Redis may then lack events.
 */
export const isStillComplete = (asOf: CompleteAsOf, progress: Measurement['progress']): boolean => {
  const positions = completeOf({ progress })
  return positions !== undefined && hasReached(positions, asOf.toReach)
}

export const createFindCompleteAsOf = (): FindCompleteAsOf => {
  /** Noted ends, the oldest first. If `isKnown`, Redis has reached the first of them. */
  let noted: readonly Ends[] = []
  let isKnown = false
  /** Positions of the last measurement. */
  let earlier = NONE

  return (part) => {
    const ends = endsOf(part)
    // If an end is below an earlier end or an earlier position, the topic was created again. The
    // positions belong to the deleted topic, until a projector has noticed the new topic.
    const isSame =
      ends === undefined || [noted.at(-1)?.ends ?? NONE, earlier].every((before) => hasReached(ends.ends, before))
    if (!isSame) [noted, isKnown] = [[], false]
    if (ends) noted = [...noted, ends]
    // If Redis does not answer, the last time is still right.
    if (part.progress !== undefined) {
      const positions = completeOf(part)
      const reached = positions && isSame ? noted.findLastIndex((each) => hasReached(positions, each.toReach)) : -1
      noted = noted.slice(Math.max(0, reached))
      isKnown = reached >= 0
      earlier = positions ?? NONE
    }
    // Keep the first measurement and remove the second. The result may then be older than
    // necessary, but it is still right.
    if (noted.length > MAX_NOTED) noted = [...noted.slice(0, 1), ...noted.slice(2)]
    return isKnown ? noted[0] : undefined
  }
}
