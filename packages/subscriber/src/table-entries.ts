import { type CustomerState, decide, type StateRecord, type Version } from '@customer-stream/schemas'
import type { TableChange } from './change-feeds.ts'

/** Newest version of a customer, with the state if the filter accepts it. */
interface Entry {
  readonly version: Version
  readonly state: CustomerState | undefined
}

/** Creates the map of customers, which keeps the newest version of each customer. */
export const createEntries = (filter: (state: CustomerState) => boolean) => {
  const entries = new Map<string, Entry>()
  let size = 0
  return {
    get: (customerUuid: string) => entries.get(customerUuid)?.state,
    get size() {
      return size
    },
    *values() {
      for (const { state } of entries.values()) if (state) yield state
    },
    /** Applies a record. Returns the change, or undefined if nothing has changed. */
    apply: ({ customerUuid, state }: StateRecord): TableChange | undefined => {
      const held = entries.get(customerUuid)
      if (state && decide(held?.version, state.version) !== 'apply') return undefined
      const kept = state && filter(state) ? state : undefined
      if (state) entries.set(customerUuid, { version: state.version, state: kept })
      else entries.delete(customerUuid)
      if (!kept && !held?.state) return undefined
      size += Number(kept !== undefined) - Number(held?.state !== undefined)
      return { customerUuid, state: kept ?? null, previous: held?.state ?? null }
    },
  }
}

export type TableEntries = ReturnType<typeof createEntries>
