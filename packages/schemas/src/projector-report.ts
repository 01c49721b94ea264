/**
 * The report of a projector: its counters since its start. Each projector stores its report in
 * Redis every five seconds. So a reader can show rates without access to the projectors' metrics.
 */
import { DEFAULT_KEY_PREFIX } from './keys.ts'

export interface ProjectorReport {
  /** Time of the report on the clock of the projector, Unix milliseconds. */
  readonly at: number
  /** Number of handled records, by outcome. */
  readonly outcomes: Readonly<Record<string, number>>
  /**
   * Histogram of chunks. The measured time is from the receipt of a chunk's last event until this
   * event was in Redis.
   */
  readonly freshness: readonly FreshnessBucket[]
  /**
   * Records that Kafka deleted before they were applied. Undefined in the report of a projector of
   * version 0.2.0 or older.
   */
  readonly lostRecords?: number
}

export interface FreshnessBucket {
  /** Upper bound of the bucket. Null for the last bucket, which has none. */
  readonly maxMs: number | null
  /** Chunks in this bucket, without the chunks of lower buckets. */
  readonly chunks: number
}

/** Returns the key of the hash of all reports. Field: id of the process. Value: JSON. */
export const reportsKey = (prefix: string = DEFAULT_KEY_PREFIX): string => `${prefix}positions:reports`

const isCount = (value: unknown): value is number => typeof value === 'number' && value >= 0

/** Reads a value of the hash of {@link reportsKey}. Undefined if the value is not a report. */
export const readReport = (text: string): ProjectorReport | undefined => {
  try {
    const report: ProjectorReport = JSON.parse(text)
    const { at, outcomes, freshness, lostRecords = 0 } = report
    const isValid =
      isCount(at) &&
      isCount(lostRecords) &&
      Object.values(outcomes).every(isCount) &&
      freshness.every(({ maxMs, chunks }) => (maxMs === null || isCount(maxMs)) && isCount(chunks))
    return isValid ? report : undefined
  } catch {
    return undefined
  }
}
