import { unlessAborted } from '@customer-stream/runtime'
import { fetchSettledEnds, type OpenTransaction } from '@customer-stream/runtime/kafka'
import { compareRedis, compareRest, compareStates } from './compare-with-kafka.ts'
import { createEvidence, type Evidence } from './evidence.ts'
import { createRanges, readCustomers, readErasures, readLedgerInto, readOther, readQuarantine } from './read-topics.ts'
import type { Repairable } from './repair.ts'
import { MAX_NAMED, type VerifyOptions } from './verify-options.ts'
import { waitForEvents } from './wait-for-projector.ts'

export interface Verdict {
  readonly hasLedger: boolean
  /** Lines of the ledger, including repeats. */
  readonly promises: number
  /** Distinct events in the ledger. */
  readonly promisedEvents: number
  /** Promised events that are not in Kafka with the same bytes. At most {@link MAX_NAMED}. */
  readonly missing: readonly { readonly id: string; readonly customerUuid: string | null }[]
  readonly missingCount: number
  readonly records: {
    readonly customers: number
    readonly other: number
    readonly unusable: number
    readonly quarantined: number
    /** Undefined if the state topic was not compared. */
    readonly state?: number
    /** Undefined if the erasures topic was not read. */
    readonly erasures?: number
    /** Entries of all indexes. Undefined if the indexes were not compared. */
    readonly indexEntries?: number
  }
  readonly unusableByReason: Readonly<Record<string, number>>
  /**
   * Unusable records without a copy in quarantine. Leaves out records that are so old that
   * retention may have deleted the copy. `places` has some of these records as
   * `topic/partition/offset`.
   */
  readonly notQuarantined: { readonly count: number; readonly places: readonly string[] }
  /**
   * Batches that cannot be read, in all topics except the customers topic. `places` has some of
   * these batches as `topic/partition/offset`. Such a batch alone is not a problem. If it has the
   * newest document of a customer, the customer counts as wrong.
   */
  readonly unreadable: { readonly count: number; readonly places: readonly string[] }
  /** Open transactions. They hide records from consumers that read only committed records. */
  readonly openTransactions: readonly OpenTransaction[]
  /** Selected customers, erased customers included. */
  readonly customers: number
  /**
   * Customers whose events in Kafka are all erased. `all` counts all of them. `selected` counts the
   * customers with an event in the time range and sample. `wrong` counts the customers that are
   * still in Redis or in the state topic.
   */
  readonly erased: { readonly all: number; readonly selected: number; readonly wrong: number }
  /**
   * Customers whose hash comes from a record that was not read. Only the version of these hashes
   * was compared.
   */
  readonly newer: number
  /**
   * Customers whose hash or state document differs from their newest event. Also includes a
   * customer with a promised event if Kafka has no event of the customer, or only older events. At
   * most {@link MAX_NAMED}.
   */
  readonly wrong: readonly { readonly customerUuid: string; readonly reason: string }[]
  readonly wrongCount: number
  /** Wrong customers that {@link repair} can repair. At most {@link MAX_NAMED}. */
  readonly repairable: readonly Repairable[]
  readonly repairableCount: number
}

/** Returns the part of the verdict that the evidence has after all comparisons. */
const countsOf = (evidence: Evidence) => ({
  promises: evidence.count('promises'),
  promisedEvents: evidence.count('promisedEvents'),
  missing: evidence.missing(MAX_NAMED),
  missingCount: evidence.count('missing'),
  unusableByReason: evidence.unusableByReason(),
  customers: evidence.count('customers'),
  erased: {
    all: evidence.count('erased'),
    selected: evidence.count('erasedAndSelected'),
    wrong: evidence.count('erasedAndWrong'),
  },
  wrong: evidence.wrongs(MAX_NAMED),
  wrongCount: evidence.count('wrong'),
  repairable: evidence.repairable(MAX_NAMED),
  repairableCount: evidence.count('repairable'),
})

/**
 * Verifies that Kafka has every promised event, and that quarantine has every unusable record.
 * Verifies that each field of every customer's hash has the value of the newest event. Read-only.
 * Memory does not grow with the number of customers.
 *
 * Events may arrive during the verification. The ledger is read before the ends of the topics are
 * fetched. So Kafka has the ledger's events before these ends, unless a spool still has the events.
 * Redis is compared after the projector has reached the same ends.
 * @throws if the projector does not reach the ends in time.
 */
export const verify = async (options: VerifyOptions): Promise<Verdict> => {
  const { admin, topics, onProgress = () => {}, ledgerPath, catchUpMs = 60_000, signal } = options
  const evidence = createEvidence()
  try {
    if (ledgerPath !== undefined) {
      onProgress('reading the ledger')
      await readLedgerInto(evidence, ledgerPath, options)
    }
    onProgress('reading Kafka')
    const settled = (topic: string) => unlessAborted(fetchSettledEnds(admin, topic, catchUpMs), signal)
    const { unreadable, upTo } = createRanges(signal)
    const [customers, other] = await Promise.all([
      settled(topics.customers),
      ledgerPath === undefined ? undefined : settled(topics.other),
    ])
    const { records, ranges } = await readCustomers(evidence, options, customers.ends)
    const otherRecords = other ? await readOther(evidence, options, upTo(topics.other, other.ends)) : 0

    onProgress('waiting for the projector')
    await waitForEvents(options, customers.ends)
    let erasures: Awaited<ReturnType<typeof readErasures>> | undefined
    if (options.erasuresTopic !== undefined) {
      onProgress('reading the erasures')
      erasures = await readErasures(evidence, options, options.erasuresTopic)
    }
    onProgress('reading quarantine')
    const quarantine = await settled(topics.quarantine)
    const quarantined = await readQuarantine(evidence, options, upTo(topics.quarantine, quarantine.ends))
    onProgress('comparing Redis')
    const newer = await compareRedis(evidence, options, ranges)
    let indexEntries: number | undefined
    if (options.withIndexes) {
      onProgress('comparing the indexes')
      const onWrong = evidence.wrongEntry
      const { redis, keyPrefix, projection } = options
      // Load this comparison only if needed, because the rules of phone numbers load slowly.
      const { compareIndexes } = await import('./compare-indexes.ts')
      indexEntries = await compareIndexes({ redis, keyPrefix, projection, topic: topics.customers, onWrong, signal })
    }
    let state: { readonly records: number; readonly open: readonly OpenTransaction[] } | undefined
    if (options.stateTopic !== undefined) {
      onProgress('comparing the state topic')
      const { ends, open } = await settled(options.stateTopic)
      const range = upTo(options.stateTopic, ends)
      state = { records: await compareStates(evidence, options, options.stateTopic, range, ranges), open }
      await compareRest(evidence, options, ranges)
    }
    evidence.comparePromises('has an acknowledged event that is newer than any usable event in Kafka')
    return {
      ...countsOf(evidence),
      hasLedger: ledgerPath !== undefined,
      records: {
        customers: records,
        other: otherRecords,
        unusable: evidence.count('unusable'),
        quarantined: quarantined.records,
        ...(state && { state: state.records }),
        ...(erasures && { erasures: erasures.records }),
        ...(indexEntries !== undefined && { indexEntries }),
      },
      notQuarantined: evidence.notQuarantined(quarantined.reachesBackTo),
      unreadable,
      openTransactions: [customers, other, erasures, quarantine, state].flatMap((read) => read?.open ?? []),
      newer,
    }
  } finally {
    evidence.close()
  }
}
