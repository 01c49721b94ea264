/** Result of one measurement of the pipeline. A part that is not known is undefined. */
import type { Watermarks } from '@customer-stream/runtime/kafka'
import type { Drift, ProjectorReport } from '@customer-stream/schemas'
import type { Progress } from '../positions.ts'

/** The partitions of a topic. A partition without a leader has no watermarks. */
export interface TopicEnds {
  readonly partitions: number
  readonly watermarks: ReadonlyMap<number, Watermarks>
}

export interface RawEnds extends TopicEnds {
  /**
   * Time at which Kafka was asked, Unix milliseconds. The watermarks cover every record that was
   * stored before this time.
   */
  readonly askedAt: number
}

/** Records of quarantine (the dead-letter topic). */
export interface QuarantineCounts {
  readonly records: number
  /**
   * Records that no operator has redriven or dropped, by reason. All copies of one original record
   * count as one.
   */
  readonly openByReason: Readonly<Record<string, number>>
  /** True if only the newest records were counted. */
  readonly isCut: boolean
}

/** Counts of an ingress since its start. */
export interface IngressCounts {
  /** Requests answered with 202. */
  readonly accepted: number
  /** Requests of the sender with an answer other than 202. */
  readonly refused: number
  /** Events that got 503 and were not accepted later. */
  readonly eventsAtRisk: number
}

export interface DealerCounts {
  readonly known: number
  readonly silent: number
  /** Receipt of the last event of any dealer, Unix milliseconds. */
  readonly lastEventAt: number | undefined
}

/**
 * A time up to which Redis has every event. This is true while the positions in Redis are at or
 * after `toReach`.
 */
export interface CompleteAsOf {
  /** Unix milliseconds. */
  readonly at: number
  /** Ends of the partitions that had records at this time. */
  readonly toReach: ReadonlyMap<number, bigint>
}

export interface Measurement {
  /** Unix milliseconds. */
  readonly at: number
  /** Time of the measurement on a clock that never goes back, milliseconds. */
  readonly clock: number
  /** A sentence about each question without an answer. */
  readonly problems: readonly string[]
  /** The raw topic of customers. */
  readonly raw: RawEnds | undefined
  readonly quarantineEnds: TopicEnds | undefined
  readonly quarantine: QuarantineCounts | undefined
  /** `none`: Redis has no positions. */
  readonly progress: Progress | 'none' | undefined
  /** Redis has every event that Kafka had at this time. */
  readonly completeAsOf: CompleteAsOf | undefined
  /** Reports by projector. */
  readonly reports: ReadonlyMap<string, ProjectorReport> | undefined
  readonly drift: readonly Drift[] | undefined
  readonly dealers: DealerCounts | undefined
  /** Counts by address of an admin port. Undefined if the counts of one ingress are not known. */
  readonly ingresses: ReadonlyMap<string, IngressCounts> | undefined
}
