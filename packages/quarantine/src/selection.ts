/** Selects records of quarantine (the dead-letter topic). */
import { nearestName } from '@customer-stream/runtime/command-line'
import { QUARANTINE_REASONS } from '@customer-stream/schemas'
import { namesCustomer } from './names-customer.ts'
import type { Place, QuarantinedRecord } from './record.ts'

export interface Filters {
  readonly reason?: string
  /** Received at this time or later, Unix milliseconds. */
  readonly sinceMs?: number
  /** Received before this time, Unix milliseconds. */
  readonly untilMs?: number
  readonly customer?: string
}

export interface Selection {
  /** Places of the records, sorted, without repeats. Undefined if `filters` select the records. */
  readonly places: readonly Place[] | undefined
  readonly filters: Filters
  /** Maximum number of records. */
  readonly limit: number
}

/** @throws Error that names the nearest reason, if this version does not know the given reason. */
export const requireReason = (reason: string): void => {
  const nearest = nearestName(reason, Object.keys(QUARANTINE_REASONS))
  if (!Object.hasOwn(QUARANTINE_REASONS, reason))
    throw new Error(
      `no record has the reason "${reason}", and this version does not know this reason` +
        (nearest === undefined ? '' : `; the nearest reason is ${nearest}`),
    )
}

export const matches = ({ reason, sinceMs, untilMs, customer }: Filters, record: QuarantinedRecord): boolean =>
  (reason === undefined || record.reason === reason) &&
  (sinceMs === undefined || record.receivedAt >= sinceMs) &&
  (untilMs === undefined || record.receivedAt < untilMs) &&
  (customer === undefined || record.key?.toString() === customer || namesCustomer(record.value, customer))
