/**
 * Sends records to the raw topics, and writes an audit entry for each record.
 *
 * The entry is written after Kafka has acknowledged the record. If the command is killed between
 * these two steps, the next run sends up to {@link GROUP_RECORDS} records again. Two commands at
 * the same time may also send a record twice. A second copy is harmless, because the projector and
 * the subscribers compare versions.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { OutgoingRecord, VerifiedProducer } from '@customer-stream/runtime/kafka'
import { type Action, type Audit, type AuditEntry, entryRecord } from './audit.ts'
import { originOf, type QuarantinedRecord } from './record.ts'
import { sendAll, sendEach } from './send.ts'

const GROUP_RECORDS = 100
/**
 * Maximum bytes of one send, because a request must not exceed the topic's max.message.bytes. A
 * larger record is sent alone.
 */
const GROUP_BYTES = 512 * 1024

/** A record that is redriven or dropped. */
export interface Accepted {
  readonly record: QuarantinedRecord
  /** Undefined if the record is dropped. */
  readonly send: OutgoingRecord | undefined
}

/** The producer, the name of the person for the audit, and the rate of an execution. */
export interface Execution {
  readonly producer: Pick<VerifiedProducer, 'send' | 'partitionOf'>
  readonly requestedBy: string
  /** The operator's reason for a drop. */
  readonly note?: string
  /** Maximum number of records that are sent per second. */
  readonly rate: number
}

export interface GroupOptions extends Execution {
  readonly audit: Pick<Audit, 'topicId'>
  readonly auditTopic: string
  readonly action: Action
  /** Ends a pause early. */
  readonly signal: AbortSignal
  /** Returns the records that may still be sent. Called before a group is sent. */
  readonly recheck?: ((group: readonly Accepted[]) => Promise<readonly Accepted[]>) | undefined
  /** Called with each record that Kafka refuses, and with Kafka's error message. */
  readonly onRefused: (record: QuarantinedRecord, why: string) => void
  /** Called with records that were sent but may have no entry in the audit. */
  readonly onUnaudited: (first: QuarantinedRecord, last: QuarantinedRecord) => void
  /** Called with records that Kafka has not acknowledged. Kafka may have stored them. */
  readonly onUnacknowledged: (first: QuarantinedRecord, last: QuarantinedRecord) => void
}

const entryOf = ({ record, send }: Accepted, { audit, action, requestedBy, note }: GroupOptions): AuditEntry => {
  const origin = originOf(record)
  return {
    topicId: audit.topicId,
    partition: record.partition,
    offset: record.offset,
    action,
    ...(origin !== undefined && { origin }),
    at: Date.now(),
    requestedBy,
    ...(note !== undefined && { note }),
    ...(send !== undefined && { sentTo: send.topic }),
  }
}

/** Sends records in groups and writes their audit entries, not faster than `rate`. */
export const createGroup = (options: GroupOptions) => {
  const { producer, rate, auditTopic, signal, recheck } = options
  const { onRefused, onUnaudited, onUnacknowledged } = options
  const most = Math.min(GROUP_RECORDS, rate)
  let waiting: Accepted[] = []
  let bytes = 0
  let done = 0
  let last: QuarantinedRecord | undefined

  const flush = async () => {
    const begunAt = performance.now()
    const ready = waiting
    waiting = []
    bytes = 0
    const group = recheck ? await recheck(ready) : ready
    const toSend = group.flatMap(({ send }) => send ?? [])
    const { refusals, failures } = await sendEach(producer, toSend)
    const stored: Accepted[] = []
    const open: Accepted[] = []
    for (const accepted of group) {
      const why = accepted.send && refusals.get(accepted.send)
      if (why !== undefined) onRefused(accepted.record, why)
      else if (accepted.send && failures.has(accepted.send)) open.push(accepted)
      else stored.push(accepted)
    }
    const [first, final] = [open[0], open.at(-1)]
    if (first && final) onUnacknowledged(first.record, final.record)
    try {
      await sendAll(
        producer,
        stored.map((accepted) => entryRecord(auditTopic, entryOf(accepted, options))),
      )
    } catch (error) {
      const [from, to] = [stored[0], stored.at(-1)]
      if (from?.send && to) onUnaudited(from.record, to.record)
      throw error
    }
    done += stored.length
    last = stored.at(-1)?.record ?? last
    if (first?.send) throw failures.get(first.send)
    const pauseMs = (stored.length / rate) * 1000 - (performance.now() - begunAt)
    if (pauseMs > 0) await sleep(pauseMs, undefined, { signal }).catch(() => undefined)
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
