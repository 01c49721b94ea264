/** Redrives or drops the selected records of quarantine. */
import {
  type Accepted,
  type Action,
  createGroup,
  type Execution,
  type GroupOptions,
  type OpenQuarantine,
  type Place,
  placeOf,
  type QuarantinedRecord,
  readQuarantine,
  type Selection,
} from '@customer-stream/quarantine'
import { attributed, type OutgoingRecord, type TopicAdmin } from '@customer-stream/runtime/kafka'
import { interruption, printNotice } from '../interruption.ts'
import { drained, printText } from '../output.ts'
import { createScreen } from '../screen.ts'
import { createReport, type Outcome } from './outcome.ts'
import { createProgress, createReadNotice } from './progress.ts'

/** Decision about one record: it is sent, it only gets an audit entry, or it is refused. */
export type Decision =
  | { readonly send: OutgoingRecord }
  | { readonly send: undefined }
  | { readonly refused: string; readonly why: string }

export interface HandleOptions {
  /** Name of the command, for messages. */
  readonly command: string
  readonly action: Action
  readonly selection: Selection
  readonly decide: (record: QuarantinedRecord) => Decision
  /** Updates the facts that `decide` uses. Called before each group of records is sent. */
  readonly refresh?: (() => Promise<void>) | undefined
  /** Undefined for a dry run. */
  readonly execute: Execution | undefined
  readonly isJson: boolean
}

/** Returns the functions that report records whose outcome is not known. */
const noticesOf = (command: string): Pick<GroupOptions, 'onUnaudited' | 'onUnacknowledged'> => ({
  onUnaudited: (first, last) =>
    printNotice(
      `${command}: the records ${placeOf(first)} to ${placeOf(last)} were sent, but may have no audit entry. ` +
        'The next run may send them again, which is harmless.',
    ),
  onUnacknowledged: (first, last) =>
    printNotice(
      `${command}: Kafka may have stored the records ${placeOf(first)} to ${placeOf(last)}, ` +
        'but did not acknowledge them. The next run sends them again, which is harmless.',
    ),
})

/**
 * Returns true if an earlier action has handled the record. If an operator names a dropped record
 * as PARTITION/OFFSET, the record may be redriven.
 */
const isHandled = (before: Action | undefined, { action, selection }: HandleOptions): boolean => {
  const isDropUndone = before === 'dropped' && action === 'redriven' && selection.places !== undefined
  return before !== undefined && !isDropUndone
}

/**
 * Handles the selected records, and ends early after Ctrl-C.
 * @throws if Kafka does not store a record within 30 s. Earlier records stay handled.
 */
export const handleRecords = async (
  admin: TopicAdmin,
  quarantine: OpenQuarantine,
  options: HandleOptions,
): Promise<Outcome> => {
  const { command, action, selection, decide, refresh, execute, isJson } = options
  const { topic, ends, audit, auditTopic } = quarantine
  const { signal } = interruption
  const screen = createScreen(process.stderr)
  const writeLine = execute ? screen.print : printText
  const report = createReport(action, isJson, writeLine)
  const refusedByReason: Record<string, number> = {}
  const onRefused = (record: QuarantinedRecord, refused: string, why: string) => {
    refusedByReason[refused] = (refusedByReason[refused] ?? 0) + 1
    report.notAccepted(record, refused, why)
  }
  /** Decides again about the records of a group, immediately before they are sent. */
  const recheck = async (waiting: readonly Accepted[]): Promise<readonly Accepted[]> => {
    await refresh?.()
    return waiting.filter(({ record }) => {
      const decision = decide(record)
      if ('refused' in decision) onRefused(record, decision.refused, decision.why)
      return !('refused' in decision)
    })
  }
  const group =
    execute &&
    createGroup({
      ...execute,
      audit,
      auditTopic,
      action,
      signal,
      recheck: refresh && recheck,
      onRefused: (record, why) => onRefused(record, 'refused-by-kafka', `Kafka refused the record: ${why}.`),
      ...noticesOf(command),
    })
  let [accepted, doneBefore, unreadable] = [0, 0, 0]
  const onUnreadable = (place: Place, why: string) => {
    unreadable += 1
    report.notAccepted(place, 'unreadable', why)
  }
  /**
   * Returns the words of a message that name the last handled record. Empty in a dry run, which
   * handles no record.
   */
  const where = () => {
    if (group === undefined) return ''
    return group.last ? ` after ${placeOf(group.last)}` : ' before the first record'
  }
  const progress = createProgress(action, () => ({ done: group?.done ?? 0, doneBefore }))
  const hide = execute ? screen.show(progress.line) : () => {}
  try {
    await attributed(`read topic ${topic}`, async () => {
      const onProgress = execute ? progress.onProgress : createReadNotice(command)
      for await (const record of readQuarantine(admin, { topic, ends, selection, signal, onUnreadable, onProgress })) {
        if (signal.aborted || accepted >= selection.limit) break
        await drained()
        if (isHandled(audit.actionFor(record), options)) {
          doneBefore += 1
          continue
        }
        const decision = decide(record)
        if ('refused' in decision) {
          onRefused(record, decision.refused, decision.why)
          continue
        }
        accepted += 1
        if (group) await group.add({ record, send: decision.send })
        else report.accepted(record, decision.send)
      }
      if (!signal.aborted) await group?.flush()
    })
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) {
      printNotice(`${command}: stopped${where()}`)
      throw error
    }
  } finally {
    hide()
    screen.close()
  }
  if (signal.aborted)
    printNotice(`${command}: interrupted${where()}${group ? '. To continue there, run the same command again' : ''}`)
  return {
    action,
    executed: execute !== undefined,
    done: group?.done ?? 0,
    accepted,
    doneBefore,
    refusedByReason,
    unreadable,
    interrupted: signal.aborted,
  }
}
