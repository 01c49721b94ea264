/** Counts open records by reason. Counts handled records and further copies separately. */
import type { Action } from '@customer-stream/quarantine'
import { counted, grouped, printable, shortened } from '../terminal-text.ts'

/** Maximum number of reasons that are counted separately, so that memory stays bounded. */
const MAX_REASONS = 200
const OTHER = '(other reasons)'

export interface Summary {
  readonly records: number
  /**
   * Records that no operator has redriven or dropped. Further copies of a record are not counted
   * here.
   */
  readonly open: number
  /** Further copies of open records. */
  readonly copies: number
  /** Open records by reason. */
  readonly byReason: Readonly<Record<string, number>>
  /** Records that an operator has redriven or dropped. */
  readonly handled: Readonly<Record<Action, number>>
}

export const createSummary = () => {
  const byReason = new Map<string, number>()
  const handled: Record<Action, number> = { redriven: 0, dropped: 0 }
  let [records, copies] = [0, 0]
  return {
    /** @param isCopy true for a further copy of a record that was counted before. */
    count: (reason: string, action?: Action, isCopy = false) => {
      records += 1
      if (action !== undefined) {
        handled[action] += 1
        return
      }
      if (isCopy) {
        copies += 1
        return
      }
      const name = byReason.has(reason) || byReason.size < MAX_REASONS ? reason : OTHER
      byReason.set(name, (byReason.get(name) ?? 0) + 1)
    },
    get: (): Summary => {
      const open = records - copies - handled.redriven - handled.dropped
      return { records, open, copies, byReason: Object.fromEntries(byReason), handled: { ...handled } }
    },
  }
}

const REASON_COLUMNS = 28

const MAX_ID_CHARACTERS = 64

/** Shortens an id for a terminal, because an id may be any text. */
export const idText = (id: string): string => printable(shortened(id, MAX_ID_CHARACTERS))

/** Shortens a reason for a terminal, because a reason may be any text. */
export const reasonText = (reason: string): string => (reason === '' ? '(no reason)' : printable(shortened(reason, 60)))

export const reasonLines = (byReason: Readonly<Record<string, number>>): string[] =>
  Object.entries(byReason)
    .sort(([, a], [, b]) => b - a)
    .map(([reason, count]) => `  ${reasonText(reason).padEnd(REASON_COLUMNS)}${grouped(count).padStart(9)}`)

export const summaryLines = ({ open, copies, byReason, handled }: Summary, isAll: boolean): string[] => {
  const done = handled.redriven + handled.dropped
  const hidden = isAll ? '' : ' (not listed; --all lists them)'
  const parts = [`${grouped(handled.redriven)} redriven`, `${grouped(handled.dropped)} dropped`]
  return [
    `${counted(open, 'open record')}${open > 0 ? ', by reason:' : ''}`,
    ...reasonLines(byReason),
    ...(copies === 0 ? [] : [`Further copies of open records: ${grouped(copies)}${hidden}`]),
    ...(done === 0 ? [] : [`Handled: ${parts.join(', ')}${hidden}`]),
  ]
}
