/**
 * Sends each change of the log only to the streams that must show the change. Otherwise each change
 * would need a loop over all streams.
 */

import type { ChangeLog, LogPlace } from './change-log.ts'
import type { ChangeStream } from './change-stream.ts'
import type { Selection } from './change-view.ts'
import { createShownCustomers, type ShownCustomers } from './shown-customers.ts'
import { createSubscriptionIndex } from './subscription-index.ts'

export interface Dispatch {
  /** The view of each stream must add the customers that the stream remembers. */
  readonly shownCustomers: ShownCustomers
  add(stream: ChangeStream, selection: Selection): void
  remove(stream: ChangeStream, selection: Selection): void
  /**
   * Sends the new changes to their streams at the next turn of the event loop, together with the
   * changes that arrive until then.
   */
  schedule(): void
  /** Sends the new changes to their streams, then moves the place of each stream in the log. */
  passAll(): void
}

/**
 * Number of changes after which all streams move their place in the log. Must be less than the size
 * of the log.
 */
const PASS_CHANGES = 1000

export const createDispatch = (log: ChangeLog): Dispatch => {
  const streams = new Set<ChangeStream>()
  const subscriptions = createSubscriptionIndex<ChangeStream>()
  const shownCustomers = createShownCustomers()
  /** Place in the log. All earlier changes were sent to their streams. */
  let reached: LogPlace = { number: 0, offsets: [] }
  /** Value of `reached.number` at the last pass over all streams. */
  let passed = 0
  let scheduled: NodeJS.Immediate | undefined

  /** Returns the streams that must show a change at or after this number. */
  const concernedFrom = (first: number): Iterable<ChangeStream> => {
    // If the log lacks some of these changes, any stream may need one of them.
    if (first < log.first) return streams
    const concerned = new Set<ChangeStream>()
    let hasMoves = false
    for (let number = first; number < log.end; number++) {
      const content = log.at(number).change.content()
      if (content === undefined) continue
      subscriptions.collect(content, concerned)
      hasMoves = shownCustomers.move(content) || hasMoves
    }
    return hasMoves ? streams : concerned
  }
  /** Frees parsed documents, because each needs several times the memory of its record. */
  const forgetDocuments = (first: number) => {
    for (let number = Math.max(first, log.first); number < log.end; number++) log.at(number).change.forgetDocument()
  }
  const pass = () => {
    passed = reached.number
    for (const stream of streams) stream.pump(reached)
    // Slow streams and new streams may have parsed older records again.
    forgetDocuments(log.first)
  }
  const dispatch = () => {
    clearImmediate(scheduled)
    scheduled = undefined
    const from = reached
    reached = { number: log.end, offsets: [...log.offsets] }
    // Without streams no record is parsed.
    if (streams.size === 0) return
    for (const stream of concernedFrom(from.number)) stream.pump(from)
    forgetDocuments(from.number)
    if (reached.number - passed >= PASS_CHANGES) pass()
  }

  return {
    shownCustomers,
    add: (stream, selection) => {
      streams.add(stream)
      subscriptions.add(stream, selection)
    },
    remove: (stream, selection) => {
      streams.delete(stream)
      subscriptions.remove(stream, selection)
    },
    schedule: () => {
      scheduled ??= setImmediate(dispatch)
    },
    passAll: () => {
      dispatch()
      pass()
    },
  }
}
