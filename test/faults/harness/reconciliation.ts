import type { Observer } from '@customer-stream/verify'
import type { SenderTotals } from './senders.ts'

/** Counts that are known at the end of a scenario. */
export interface FinalCounts {
  readonly senders: SenderTotals
  /** Fingerprints of the events that the senders made. */
  readonly sentEvents: Iterable<string>
  /**
   * Number of 202 answers, counted by the ingresses. Undefined if an ingress has ended, because its
   * count is lost.
   */
  readonly answered: number | undefined
  /**
   * `counted`: outcomes counted by the projectors. `records`: records of the customers topic that
   * must have an outcome.
   */
  readonly outcomes: { readonly counted: number; readonly records: number }
  /**
   * Offset after the last record of each partition. Kafka may have stored records of unanswered
   * requests after the verifier has read the topic.
   */
  readonly ends: ReadonlyMap<number, number>
  /** Next offset to apply of each partition, from Redis. */
  readonly positions: ReadonlyMap<number, number>
}

/**
 * Reconciliation of one scenario: compares the counts of each stage, from the senders to Redis,
 * with the counts of the next stage. The verifier finds missing records. The reconciliation also
 * finds surplus records and records of unknown origin.
 */
export interface Reconciliation {
  readonly observer: Observer
  /** Adds an event that the fault itself sent. */
  posted(fingerprint: string, wasPromised: boolean): void
  /**
   * Adds a record in quarantine. `source` is the place (`topic/partition/offset`) that its headers
   * name.
   */
  quarantined(source: string, fingerprint: string): void
  readonly figures: { readonly records: number; readonly unpromised: number; readonly copies: number }
  /** Returns a sentence for each count that does not match. */
  imbalances(finalCounts: FinalCounts): string[]
}

export const placeOf = (topic: string, partition: number | string, offset: string): string =>
  `${topic}/${partition}/${offset}`

const add = (counts: Map<string, number>, key: string) => counts.set(key, (counts.get(key) ?? 0) + 1)

/** Counts of the stages, collected during a scenario. */
interface Counts {
  /** Events that the fault itself sent. */
  readonly posted: ReadonlySet<string>
  /** Number of promises, by fingerprint. */
  readonly promises: ReadonlyMap<string, number>
  readonly ledger: { readonly lines: number; readonly events: ReadonlySet<string> }
  /** Number of records in Kafka, by fingerprint. */
  readonly stored: ReadonlyMap<string, number>
  /** Fingerprint of each unusable record, by place. */
  readonly unusable: ReadonlyMap<string, string>
  /** Fingerprint of each record in quarantine, by the place that its headers name. */
  readonly quarantined: ReadonlyMap<string, string>
  readonly records: number
}

const imbalancesOf = (counts: Counts, finalCounts: FinalCounts): string[] => {
  const { posted, promises, ledger, stored, unusable, quarantined, records } = counts
  const { senders, sentEvents, answered, outcomes, ends, positions } = finalCounts
  const { made, promised, lost, stopped, heard } = senders
  const sent = new Set([...sentEvents, ...posted])
  const foreign = [...stored.keys()].filter((print) => !sent.has(print)).length
  const short = [...promises].filter(([print, count]) => count > (stored.get(print) ?? 0)).length
  const misplaced = [...positions].filter(([partition, next]) => next !== (ends.get(partition) ?? 0))
  // The senders make only usable records, so a count above 0 is a bug of the verifier.
  const unusableOfSenders = new Set(unusable.values()).difference(posted).size
  const notQuarantined = [...unusable].filter(([source, print]) => quarantined.get(source) !== print).length
  const wronglyQuarantined = [...quarantined].filter(([source, print]) => unusable.get(source) !== print).length
  const statements: [boolean, string][] = [
    [
      made === promised + lost + stopped,
      `${made} events were made, but ${promised} promised, ${lost} lost and ${stopped} stopped`,
    ],
    [ledger.lines === heard, `the ledger has ${ledger.lines} promises, but ${heard} answers with 2xx were heard`],
    [
      ledger.events.size === promised,
      `the ledger has ${ledger.events.size} events, but the senders counted ${promised}`,
    ],
    [
      answered === undefined || answered >= heard,
      `the senders got ${heard} answers with 202, but the ingresses gave only ${answered}`,
    ],
    [
      answered === undefined || records >= answered,
      `the ingresses gave ${answered} answers with 202, but Kafka has only ${records} records`,
    ],
    [short === 0, `${short} events have more promises than records in Kafka`],
    [foreign === 0, `${foreign} records in Kafka were not sent by a sender`],
    [
      misplaced.length === 0 && positions.size >= ends.size,
      `positions in Redis that are not the end of their partition: ${misplaced
        .map(([partition, next]) => `${partition} at ${next} of ${ends.get(partition) ?? 0}`)
        .join(', ')}`,
    ],
    [unusableOfSenders === 0, `${unusableOfSenders} of the senders' events were not usable`],
    [outcomes.counted >= outcomes.records, `${outcomes.records} records have only ${outcomes.counted} outcomes`],
    [notQuarantined === 0, `${notQuarantined} unusable records are not in quarantine`],
    [wronglyQuarantined === 0, `${wronglyQuarantined} records in quarantine are not copies of unusable records`],
  ]
  return statements.filter(([holds]) => !holds).map(([, sentence]) => sentence)
}

export const createReconciliation = (customersTopic: string): Reconciliation => {
  const posted = new Set<string>()
  const promises = new Map<string, number>()
  const ledger = { lines: 0, events: new Set<string>() }
  const stored = new Map<string, number>()
  const unusable = new Map<string, string>()
  const quarantined = new Map<string, string>()
  let records = 0

  return {
    observer: {
      record: ({ topic, partition, offset, fingerprint, usable }) => {
        records += 1
        add(stored, fingerprint)
        if (topic === customersTopic && !usable) unusable.set(placeOf(topic, partition, offset), fingerprint)
      },
      promise: (fingerprint) => {
        ledger.lines += 1
        ledger.events.add(fingerprint)
        add(promises, fingerprint)
      },
    },
    posted: (fingerprint, wasPromised) => {
      posted.add(fingerprint)
      if (wasPromised) add(promises, fingerprint)
    },
    quarantined: (source, fingerprint) => {
      quarantined.set(source, fingerprint)
    },
    get figures() {
      const unpromised = [...stored.keys()].filter((print) => !promises.has(print)).length
      return { records, unpromised, copies: records - stored.size }
    },
    imbalances: (finalCounts) =>
      imbalancesOf({ posted, promises, ledger, stored, unusable, quarantined, records }, finalCounts),
  }
}
