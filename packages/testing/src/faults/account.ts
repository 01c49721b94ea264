import type { Witness } from '../verification/verify.ts'
import type { SenderTotals } from './senders.ts'

/** What else is known when a row is over. */
export interface Closing {
  readonly senders: SenderTotals
  /** Fingerprints of the events that the senders made. */
  readonly sentEvents: Iterable<string>
  /** 202 answers by the ingresses' own count; undefined where one of them was ended, and its count with it. */
  readonly answered: number | undefined
  /** Outcomes by the projectors' own count, and the records of the customers topic that they must be enough for. */
  readonly outcomes: { readonly counted: number; readonly records: number }
  /** What Redis says: the next offset to apply of each partition. */
  readonly positions: ReadonlyMap<number, number>
}

/**
 * The books of one row: everything is counted where it happened, and each count is held against its neighbour's, from the senders to Redis. A verdict looks
 * for what is missing; this also finds what is too much, and what nobody can account for.
 */
export interface Account {
  readonly witness: Witness
  /** An event that the fault sent by itself. */
  posted(fingerprint: string, wasPromised: boolean): void
  /** A record in quarantine; `source` is the place that its headers name. */
  quarantined(source: string, fingerprint: string): void
  readonly figures: { readonly records: number; readonly unpromised: number; readonly copies: number }
  /** What does not add up, in words. */
  imbalances(closing: Closing): string[]
}

export const placeOf = (topic: string, partition: number | string, offset: string): string => `${topic}/${partition}/${offset}`

const add = (counts: Map<string, number>, key: string) => counts.set(key, (counts.get(key) ?? 0) + 1)

export const createAccount = (customersTopic: string): Account => {
  const posted = new Set<string>()
  const promises = new Map<string, number>()
  let ledgerLines = 0
  const ledgerEvents = new Set<string>()
  const stored = new Map<string, number>()
  const ends = new Map<number, number>()
  const unusable = new Map<string, string>()
  const quarantined = new Map<string, string>()
  let records = 0

  return {
    witness: {
      record: ({ topic, partition, offset, fingerprint, usable }) => {
        records += 1
        add(stored, fingerprint)
        if (topic !== customersTopic) return
        ends.set(partition, Number(offset) + 1)
        if (!usable) unusable.set(placeOf(topic, partition, offset), fingerprint)
      },
      promise: (fingerprint) => {
        ledgerLines += 1
        ledgerEvents.add(fingerprint)
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
    imbalances: ({ senders, sentEvents, answered, outcomes, positions }) => {
      const { made, promised, lost, stopped, heard } = senders
      const sent = new Set([...sentEvents, ...posted])
      const foreign = [...stored.keys()].filter((print) => !sent.has(print)).length
      const short = [...promises].filter(([print, count]) => count > (stored.get(print) ?? 0)).length
      const misplaced = [...positions].filter(([partition, next]) => next !== (ends.get(partition) ?? 0))
      // The senders make no unusable record, so that a mistake of the verifier's own reading shows here.
      const spoilt = new Set(unusable.values()).difference(posted).size
      const notQuarantined = [...unusable].filter(([source, print]) => quarantined.get(source) !== print).length
      const wronglyQuarantined = [...quarantined].filter(([source, print]) => unusable.get(source) !== print).length
      const statements: [boolean, string][] = [
        [made === promised + lost + stopped, `${made} events were made, but ${promised} promised, ${lost} lost and ${stopped} stopped`],
        [ledgerLines === heard, `the ledger has ${ledgerLines} promises, but ${heard} answers with 2xx were heard`],
        [ledgerEvents.size === promised, `the ledger has ${ledgerEvents.size} events, but the senders counted ${promised}`],
        [answered === undefined || answered >= heard, `${heard} answers with 202 were heard, but only ${answered} were given`],
        [answered === undefined || records >= answered, `${answered} answers with 202 were given for ${records} records in Kafka`],
        [short === 0, `${short} events were promised more often than Kafka has them`],
        [foreign === 0, `${foreign} records in Kafka were sent by nobody`],
        [
          misplaced.length === 0 && positions.size >= ends.size,
          `positions in Redis that are not the end of their partition: ${misplaced.map(([partition, next]) => `${partition} at ${next} of ${ends.get(partition) ?? 0}`).join(', ')}`,
        ],
        [spoilt === 0, `${spoilt} of the senders' events were not usable`],
        [outcomes.counted >= outcomes.records, `${outcomes.records} records met only ${outcomes.counted} outcomes`],
        [notQuarantined === 0, `${notQuarantined} unusable records are not in quarantine`],
        [wronglyQuarantined === 0, `${wronglyQuarantined} records in quarantine are none of the unusable ones`],
      ]
      return statements.filter(([holds]) => !holds).map(([, sentence]) => sentence)
    },
  }
}
