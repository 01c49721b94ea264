/**
 * Redrives or drops the selected records of quarantine, and notes each in the audit. Without
 * `execute` nothing is written.
 *
 * An audit entry follows the acknowledged send of its record. If the command is killed between the
 * two, the next run sends up to {@link GROUP_RECORDS} records again. A second copy is harmless, by
 * the version rule. Two commands at the same time may also send a record twice.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { attributed, type OutgoingRecord, type TopicAdmin, type VerifiedProducer } from '@customer-stream/runtime/kafka'
import { interruption, tell } from '../interruption.ts'
import { barText } from '../layout.ts'
import { createScreen } from '../screen.ts'
import { counted, jsonLine } from '../terminal-text.ts'
import { type Action, type AuditEntry, entryRecord } from './audit.ts'
import type { OpenQuarantine } from './open.ts'
import { readQuarantine } from './read-quarantine.ts'
import { type Place, placeOf, type QuarantinedRecord } from './record.ts'
import type { Selection } from './selection.ts'
import { sendAll, sendEach } from './send.ts'
import { idText, reasonLines, reasonText } from './summary.ts'

const GROUP_RECORDS = 100
/** A request to Kafka must fit into the topic's max.message.bytes. One record may be larger. */
const GROUP_BYTES = 512 * 1024

/** What happens with one record: it is sent, only noted in the audit, or refused. */
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
  /** Undefined for a dry run. */
  readonly execute:
    | {
        readonly producer: VerifiedProducer
        readonly requestedBy: string
        readonly note?: string
        /** Maximum records in a second. */
        readonly rate: number
      }
    | undefined
  readonly isJson: boolean
}

interface Accepted {
  readonly record: QuarantinedRecord
  readonly send: OutgoingRecord | undefined
}

export interface Outcome {
  readonly action: Action
  readonly executed: boolean
  /** Records that were redriven or dropped, or would be in a dry run. */
  readonly done: number
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
  const { action, executed, done, doneBefore, refusedByReason, unreadable } = outcome
  const words = wordsFor(action)
  const refused = Object.values(refusedByReason).reduce((sum, count) => sum + count, 0)
  return [
    `${counted(done, 'record')} ${executed ? words.were : words.would}`,
    ...(doneBefore === 0 ? [] : [`${counted(doneBefore, 'record')} redriven or dropped before, so skipped`]),
    ...(refused === 0 ? [] : [`${counted(refused, 'record')} refused, by reason:`, ...reasonLines(refusedByReason)]),
    ...(unreadable === 0 ? [] : [`${counted(unreadable, 'record')} could not be read`]),
    ...(executed ? [] : ['This was a dry run. Nothing was written. With --execute the command does it.']),
  ]
}

/** Returns true if every selected record was handled, now or before. */
export const isDone = ({ refusedByReason, unreadable, interrupted }: Outcome): boolean =>
  Object.keys(refusedByReason).length + unreadable === 0 && !interrupted

/** Sends groups of records and writes their audit entries, not faster than `rate`. */
const createGroup = (
  { audit, auditTopic }: OpenQuarantine,
  { command, action, execute }: HandleOptions & { readonly execute: NonNullable<HandleOptions['execute']> },
  onRefused: (record: QuarantinedRecord, refused: string, why: string) => void,
) => {
  const { producer, requestedBy, note, rate } = execute
  const most = Math.min(GROUP_RECORDS, rate)
  const startedAt = performance.now()
  let waiting: Accepted[] = []
  let bytes = 0
  let done = 0
  let last: QuarantinedRecord | undefined

  const entryOf = ({ record, send }: Accepted): AuditEntry => ({
    topicId: audit.topicId,
    partition: record.partition,
    offset: record.offset,
    action,
    at: Date.now(),
    requestedBy,
    ...(note !== undefined && { note }),
    ...(send !== undefined && { sentTo: send.topic }),
  })

  const flush = async () => {
    const group = waiting
    waiting = []
    bytes = 0
    const toSend = group.flatMap(({ send }) => send ?? [])
    const refusals = await sendEach(producer, toSend)
    const stored = group.filter((_, i) => refusals[i] === undefined)
    for (const [i, { record }] of group.entries())
      if (refusals[i] !== undefined) onRefused(record, 'refused-by-kafka', `Kafka refused the record: ${refusals[i]}.`)
    try {
      await sendAll(
        producer,
        stored.map((accepted) => entryRecord(auditTopic, entryOf(accepted))),
      )
    } catch (error) {
      const [from, to] = [stored[0], stored.at(-1)]
      if (action === 'redriven' && from !== undefined && to !== undefined)
        tell(
          `${command}: the records ${placeOf(from.record)} to ${placeOf(to.record)} were sent, but the audit may ` +
            'not say so. The next run may send them again, which is harmless.',
        )
      throw error
    }
    done += stored.length
    last = stored.at(-1)?.record ?? last
    const aheadMs = (done / rate) * 1000 - (performance.now() - startedAt)
    if (aheadMs > 0) await sleep(aheadMs, undefined, { signal: interruption.signal }).catch(() => undefined)
  }

  return {
    get done() {
      return done
    },
    /** The last record that was handled. */
    get last() {
      return last
    },
    flush,
    add: async (accepted: Accepted) => {
      const size = accepted.send?.value?.length ?? 0
      if (waiting.length > 0 && bytes + size > GROUP_BYTES) await flush()
      waiting.push(accepted)
      bytes += size
      if (waiting.length >= most) await flush()
    },
  }
}

/** Returns the text of the live line. */
const createBar = (label: string, done: () => number) => {
  const startedAt = performance.now()
  let [read, total] = [0, 1]
  return {
    onProgress: (now: number, all: number) => {
      ;[read, total] = [now, all]
    },
    line: {
      share: () => read / total,
      text: (columns: number) => {
        const seconds = Math.max(0.001, (performance.now() - startedAt) / 1000)
        const secondsLeft = read === 0 ? undefined : ((total - read) * seconds) / read
        return barText({ label, done: read, total, perSecond: done() / seconds, secondsLeft }, columns)
      },
    },
  }
}

/** Writes the line of one record: the place, what happens, and why. */
const createReport = ({ action, execute, isJson }: HandleOptions, say: (line: string) => void) => {
  const toOutput = (text: string) => process.stdout.write(text)
  return {
    accepted: (record: QuarantinedRecord, send: OutgoingRecord | undefined) => {
      const place = placeOf(record)
      const key = send?.key?.toString()
      if (isJson)
        return toOutput(jsonLine({ place, reason: record.reason, action, ...(send && { topic: send.topic, key }) }))
      const to = send === undefined ? '' : `${send.topic}, ${key === undefined ? 'no key' : `key ${idText(key)}`}`
      return toOutput(`${place.padEnd(10)}  ${reasonText(record.reason).padEnd(22)}  ${to || 'drop'}\n`)
    },
    notAccepted: (place: Place, refused: string, why: string) => {
      if (isJson && execute === undefined) toOutput(jsonLine({ place: placeOf(place), refused, why }))
      else say(`${placeOf(place).padEnd(10)}  ✘ ${refused}: ${why}`)
    },
  }
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
  const { command, action, selection, decide, execute } = options
  const { topic, ends, audit } = quarantine
  const { signal } = interruption
  const screen = createScreen(process.stderr)
  const report = createReport(options, execute ? screen.say : (line) => process.stdout.write(`${line}\n`))
  const refusedByReason: Record<string, number> = {}
  const onRefused = (record: QuarantinedRecord, refused: string, why: string) => {
    refusedByReason[refused] = (refusedByReason[refused] ?? 0) + 1
    report.notAccepted(record, refused, why)
  }
  const group = execute && createGroup(quarantine, { ...options, execute }, onRefused)
  let [planned, doneBefore, selected, unreadable] = [0, 0, 0, 0]
  const onUnreadable = (place: Place, why: string) => {
    unreadable += 1
    report.notAccepted(place, 'unreadable', why)
  }
  /** A named record that was dropped by mistake can still be redriven. */
  const isHandled = (record: QuarantinedRecord): boolean => {
    const before = audit.actionFor(record)
    const isTakenBack = before === 'dropped' && action === 'redriven' && selection.places !== undefined
    return before !== undefined && !isTakenBack
  }
  const bar = createBar(action, () => group?.done ?? 0)
  const hide = execute ? screen.show(bar.line) : () => {}
  try {
    await attributed(`read topic ${topic}`, async () => {
      const { onProgress } = bar
      for await (const record of readQuarantine(admin, { topic, ends, selection, signal, onUnreadable, onProgress })) {
        if (signal.aborted || selected >= selection.limit) break
        if (isHandled(record)) {
          doneBefore += 1
          continue
        }
        selected += 1
        const decision = decide(record)
        if ('refused' in decision) onRefused(record, decision.refused, decision.why)
        else if (group) await group.add({ record, send: decision.send })
        else {
          planned += 1
          report.accepted(record, decision.send)
        }
      }
      if (!signal.aborted) await group?.flush()
    })
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) {
      tell(`${command}: stopped ${group?.last ? `after ${placeOf(group.last)}` : 'before the first record'}`)
      throw error
    }
  } finally {
    hide()
    screen.close()
  }
  if (signal.aborted)
    tell(
      `${command}: interrupted ${group?.last ? `after ${placeOf(group.last)}` : 'before the first record'}. ` +
        'The same command continues there.',
    )
  return {
    action,
    executed: execute !== undefined,
    done: group?.done ?? planned,
    doneBefore,
    refusedByReason,
    unreadable,
    interrupted: signal.aborted,
  }
}

/** Prints the outcome, and returns the exit code. */
export const printOutcome = (outcome: Outcome, isJson: boolean): number => {
  process.stdout.write(isJson ? jsonLine({ summary: outcome }) : `${outcomeLines(outcome).join('\n')}\n`)
  return outcome.interrupted ? 130 : isDone(outcome) ? 0 : 1
}
