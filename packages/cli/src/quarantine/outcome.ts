/** Result of a command that handles records of quarantine, for people and as JSON. */
import { type Action, type Place, placeOf, type QuarantinedRecord } from '@customer-stream/quarantine'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { printText } from '../output.ts'
import { counted, jsonLine } from '../terminal-text.ts'
import { idText, reasonLines, reasonText } from './summary.ts'

export interface Outcome {
  readonly action: Action
  readonly executed: boolean
  /** Records that were redriven or dropped. 0 in a dry run. */
  readonly done: number
  /**
   * Selected records that can be redriven or dropped. In a dry run, these are the records that
   * `--execute` would handle.
   */
  readonly accepted: number
  /** Records that an earlier run has handled. */
  readonly doneBefore: number
  readonly refusedByReason: Readonly<Record<string, number>>
  /** Selected records that cannot be read or do not exist. */
  readonly unreadable: number
  readonly interrupted: boolean
}

const wordsFor = (action: Action) =>
  action === 'redriven'
    ? { would: 'would be redriven', were: 'redriven' }
    : { would: 'would be dropped', were: 'dropped' }

export const outcomeLines = (outcome: Outcome): string[] => {
  const { action, executed, done, accepted, doneBefore, refusedByReason, unreadable } = outcome
  const words = wordsFor(action)
  const refused = Object.values(refusedByReason).reduce((sum, count) => sum + count, 0)
  return [
    executed ? `${counted(done, 'record')} ${words.were}` : `${counted(accepted, 'record')} ${words.would}`,
    ...(doneBefore === 0 ? [] : [`${counted(doneBefore, 'record')} redriven or dropped before, so skipped`]),
    ...(refused === 0 ? [] : [`${counted(refused, 'record')} refused, by reason:`, ...reasonLines(refusedByReason)]),
    ...(unreadable === 0 ? [] : [`${counted(unreadable, 'record')} could not be read`]),
    ...(executed ? [] : ['This was a dry run. Nothing was written. To write, add --execute.']),
  ]
}

/** Returns true if every selected record was handled, now or by an earlier run. */
export const isDone = ({ refusedByReason, unreadable, interrupted }: Outcome): boolean =>
  Object.keys(refusedByReason).length + unreadable === 0 && !interrupted

/** Prints the outcome, and returns the exit code. */
export const printOutcome = (outcome: Outcome, isJson: boolean): number => {
  if (isJson) process.stdout.write(jsonLine({ summary: outcome }))
  else printText(outcomeLines(outcome).join('\n'))
  return outcome.interrupted ? 130 : isDone(outcome) ? 0 : 1
}

/**
 * Writes the line of one record: the place, what happens, and why.
 * @param writeLine writes a line about a record that is not handled.
 */
export const createReport = (action: Action, isJson: boolean, writeLine: (line: string) => void) => {
  const would = action === 'redriven' ? 'redrive' : 'drop'
  const writeJson = (value: object) => process.stdout.write(jsonLine(value))
  return {
    /** Writes the line of a record that `--execute` would handle. */
    accepted: (record: QuarantinedRecord, send: OutgoingRecord | undefined) => {
      const place = placeOf(record)
      const key = send?.key?.toString()
      if (isJson) return writeJson({ place, reason: record.reason, would, ...(send && { topic: send.topic, key }) })
      const to = send === undefined ? '' : `${send.topic}, ${key === undefined ? 'no key' : `key ${idText(key)}`}`
      return printText(`${place.padEnd(10)}  ${reasonText(record.reason).padEnd(22)}  ${to || 'drop'}`)
    },
    notAccepted: (place: Place, refused: string, why: string) => {
      if (isJson) writeJson({ place: placeOf(place), refused, why })
      else writeLine(`${placeOf(place).padEnd(10)}  ✘ ${refused}: ${why}`)
    },
  }
}
