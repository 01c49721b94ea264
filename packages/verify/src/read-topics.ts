/** Reads the ledger and the topics into the evidence. */
import { unlessAborted } from '@customer-stream/runtime'
import {
  attributed,
  fetchSettledEnds,
  type PartitionEnds,
  type ReadOptions,
  readTopic,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import { MAX_FUTURE_MS, QUARANTINE_HEADERS, RAW_HEADERS } from '@customer-stream/schemas'
import { murmur2 } from '@customer-stream/schemas/partitioner'
import type { ReadRange } from './compare-hash.ts'
import { noteErasure } from './erasures.ts'
import type { Evidence } from './evidence.ts'
import { fingerprint, sha256 } from './fingerprint.ts'
import { readLedger } from './ledger.ts'
import { readEvent } from './read-event.ts'
import { MAX_NAMED, type VerifyOptions } from './verify-options.ts'
import { waitForErasures } from './wait-for-projector.ts'

export const readLedgerInto = async (evidence: Evidence, ledgerPath: string, { observer, signal }: VerifyOptions) => {
  for await (const entry of readLedger(ledgerPath)) {
    signal?.throwIfAborted()
    const print = fingerprint(entry.customerUuid, entry.sha256)
    evidence.promise(print, entry)
    observer?.promise(print)
  }
}

/**
 * Reads the customers topic.
 * @returns the number of selected records, and the range of each partition that was read.
 */
export const readCustomers = async (evidence: Evidence, options: VerifyOptions, ends: readonly PartitionEnds[]) => {
  const { admin, topics, observer, onProgress, ledgerPath, sinceMs, signal } = options
  const { untilMs = Number.POSITIVE_INFINITY, sample = 1, maxFutureMs = MAX_FUTURE_MS } = options
  const isSampled = (key: Buffer | null) => sample >= 1 || ((key === null ? 0 : murmur2(key)) >>> 0) / 2 ** 32 < sample
  let records = 0
  const { starts } = await readTopic(
    admin,
    topics.customers,
    ({ key, value, timestamp, offset, headers }, partition) => {
      if (!isSampled(key)) return
      const receivedAt = Number(timestamp)
      const isAskedFor = receivedAt >= (sinceMs ?? 0) && receivedAt < untilMs
      if (isAskedFor) records += 1
      const contentType = headers?.[RAW_HEADERS.contentType]?.toString()
      const reading = readEvent(value, { key, receivedAt, maxFutureMs, contentType })
      const place = `${partition}/${offset}`
      if (reading.usable) evidence.event(reading.event, place, receivedAt, isAskedFor)
      else if (isAskedFor)
        evidence.unusable({
          place: `${topics.customers}/${place}`,
          reason: reading.reason,
          receivedAt,
          digest: digestOf(value),
          supersedable: reading.supersedable,
        })
      if (ledgerPath === undefined) return
      const print = fingerprint(key?.toString() ?? null, sha256(value ?? ''))
      evidence.found(print)
      observer?.record({ topic: topics.customers, partition, offset, fingerprint: print, usable: reading.usable })
    },
    {
      ends,
      ...(signal && { signal }),
      ...(sinceMs !== undefined && { sinceMs }),
      onProgress: (read, total) => onProgress?.(`read ${read} of ${total} records`),
      // The bytes of this batch are unknown, so its record in quarantine has no value. The time of
      // receipt is also unknown, so use the current time. With an older time, verify could assume
      // that retention has deleted a missing record of quarantine.
      onUnreadable: ({ offset }, partition) =>
        evidence.unusable({
          place: `${topics.customers}/${partition}/${offset}`,
          reason: 'unreadable',
          receivedAt: Date.now(),
          digest: digestOf(null),
        }),
    },
  )
  const ranges = new Map<number, ReadRange>()
  for (const { partition, high } of ends)
    ranges.set(partition, { start: starts.get(partition) ?? 0n, end: BigInt(high) })
  return { records, ranges }
}

/** Options to read a topic up to its ends. The reading skips each batch that cannot be read. */
export interface Range extends ReadOptions {
  readonly ends: readonly PartitionEnds[]
}

/**
 * Creates the ranges of several topics, and collects the batches of these ranges that cannot be
 * read.
 */
export const createRanges = (signal: AbortSignal | undefined) => {
  const unreadable = { count: 0, places: [] as string[] }
  const upTo = (topic: string, ends: readonly PartitionEnds[]): Range => ({
    ends,
    onUnreadable: ({ offset }, partition) => {
      unreadable.count += 1
      if (unreadable.places.length < MAX_NAMED) unreadable.places.push(`${topic}/${partition}/${offset}`)
    },
    ...(signal && { signal }),
  })
  return { unreadable, upTo }
}

export const readOther = async (evidence: Evidence, { admin, topics, observer }: VerifyOptions, range: Range) => {
  const { records } = await readTopic(
    admin,
    topics.other,
    ({ value, offset }, partition) => {
      const print = fingerprint(null, sha256(value ?? ''))
      evidence.found(print)
      observer?.record({ topic: topics.other, partition, offset, fingerprint: print, usable: true })
    },
    range,
  )
  return records
}

const digestOf = (value: Buffer | null): Uint8Array => Buffer.from(sha256(value ?? ''), 'hex')

/**
 * Returns a time of receipt in Unix milliseconds. Quarantine still has its records of this time and
 * later. Copies of older raw records may have been deleted, because the retention of quarantine and
 * of the raw topics may differ.
 * @returns 0 if quarantine has not deleted any record yet, or if its retention is unlimited.
 */
export const quarantineReachesBackTo = async (
  admin: TopicAdmin,
  topic: string,
  ends: readonly PartitionEnds[],
): Promise<number> => {
  if (ends.every(({ low }) => low === '0')) return 0
  const config = await attributed(`read the settings of topic ${topic}`, () =>
    admin.describeTopicConfig(topic, ['retention.ms']),
  )
  const retentionMs = Number(config.get('retention.ms') ?? -1)
  return retentionMs < 0 ? 0 : Date.now() - retentionMs
}

/**
 * Reads quarantine (the dead-letter topic). Must run after the wait for the projector. Quarantine
 * is then complete, because the projector writes to it before its position moves.
 */
export const readQuarantine = async (evidence: Evidence, { admin, topics }: VerifyOptions, range: Range) => {
  const { records } = await readTopic(
    admin,
    topics.quarantine,
    ({ value, headers = {} }) => {
      const [topic, partition, offset] = ['topic', 'partition', 'offset'].map((name) =>
        String(headers[QUARANTINE_HEADERS[name as 'topic' | 'partition' | 'offset']] ?? ''),
      )
      // Records that the ingress wrote to quarantine name no offset.
      if (offset !== '') evidence.quarantined(`${topic}/${partition}/${offset}`, value && digestOf(value))
    },
    range,
  )
  return { records, reachesBackTo: await quarantineReachesBackTo(admin, topics.quarantine, range.ends) }
}

/**
 * Reads the erasures topic, and waits until the projector has executed the erasures that were read.
 */
export const readErasures = async (evidence: Evidence, options: VerifyOptions, topic: string) => {
  const { admin, catchUpMs = 60_000, signal } = options
  const { ends, open } = await unlessAborted(fetchSettledEnds(admin, topic, catchUpMs), signal)
  const { records } = await readTopic(admin, topic, (record) => noteErasure(evidence, record), {
    ends,
    ...(signal && { signal }),
  })
  await waitForErasures(options, ends)
  return { records, open }
}
