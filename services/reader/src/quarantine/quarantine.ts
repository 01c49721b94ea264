/** Lists and reads quarantine (the dead-letter topic), and redrives one record at a time. */
import { type AuditEntry, type Place, type QuarantinedRecord, readQuarantined } from '@customer-stream/quarantine'
import { answerOf } from '@customer-stream/runtime'
import { KafkaUnavailableError, type ReaderKafka } from '../kafka.ts'
import type { TopicReader } from '../topic-reader.ts'
import type { Redrive, Redriven, RedriveRequest } from './redrive.ts'
import { factsOf, newestFirst, type QuarantineTail, type RecordFacts, type Tail } from './tail.ts'

/** A redrive waits for acknowledgements, so it may take longer than a read. */
const REDRIVE_MS = 20_000
const STILL_RUNNING = 'The redrive still runs, and may send the record later. Read the record before you try again.'

type Handled = ReturnType<Tail['actionFor']>
export type Listed = RecordFacts & { readonly handled: Handled }
export type ListPlace = Pick<RecordFacts, 'receivedAt' | 'partition' | 'offset'>

export interface ListQuery {
  readonly reason: string | undefined
  /** The last record of the previous page. */
  readonly after: ListPlace | undefined
  readonly limit: number
}

export interface FoundRecord {
  readonly record: QuarantinedRecord
  readonly facts: Listed
  readonly history: readonly AuditEntry[]
}

export interface Quarantine {
  readonly topic: string
  list(query: ListQuery): Promise<{ records: readonly Listed[]; hasMore: boolean; isCut: boolean }>
  /** Returns undefined if quarantine has no record at this place. */
  read(place: Place): Promise<FoundRecord | undefined>
  /**
   * @param requestedBy name for the audit. Undefined for a dry run.
   * @returns undefined if quarantine has no record at this place.
   * @throws RedriveError
   */
  redrive(place: Place, requestedBy: string | undefined): Promise<Redriven | undefined>
}

/** Error: the redrive cannot be done now. The message is for the operator. */
export class RedriveError extends Error {
  override readonly name = 'RedriveError'
  readonly isRunning: boolean

  constructor(message: string, isRunning: boolean) {
    super(message)
    this.isRunning = isRunning
  }
}

export interface QuarantineDependencies {
  readonly kafka: Pick<ReaderKafka, 'ask'>
  readonly tail: QuarantineTail
  readonly reader: TopicReader
  readonly redrive: Redrive
  /** Returns a sentence about a failed redrive. */
  readonly explain: (error: Error) => string
}

/** Reads records of quarantine that may have changed since the last list. */
interface Reads {
  fetchRecord(place: Place): Promise<QuarantinedRecord | undefined>
  refresh(): Promise<Tail>
}

/** Redrives one record at a time. */
const createRedriveOne = (
  { fetchRecord, refresh }: Reads,
  { redrive, explain }: Pick<QuarantineDependencies, 'redrive' | 'explain'>,
): Quarantine['redrive'] => {
  let isRunning = false

  const redriveOnce = async (
    place: Place,
    requestedBy: string | undefined,
    start: Redrive,
  ): Promise<Redriven | undefined> => {
    const record = await fetchRecord(place)
    if (record === undefined) return undefined
    const current = await refresh()
    // A record that was dropped by mistake may be redriven, because the operator names its place.
    if (current.actionFor(factsOf(record)) === 'redriven') return { outcome: 'handled-before' }
    // A dry run writes nothing, so its end does not matter.
    let hasEnded = requestedBy === undefined
    let uncertain: string | undefined
    const onUncertain = (sentence: string) => {
      uncertain = sentence
    }
    try {
      // Do not report a failure as an outage of the reader, because the reader may have no right to
      // write.
      const started = start({ record, tail: current, requestedBy, onUncertain }).finally(() => {
        hasEnded = true
      })
      await answerOf(() => started, REDRIVE_MS)
      return await started
    } catch (error) {
      if (!hasEnded) uncertain = STILL_RUNNING
      const why = explain(error as Error)
      throw new RedriveError(uncertain === undefined ? why : `${uncertain} ${why}`, false)
    }
  }

  return async (place, requestedBy) => {
    if (isRunning) throw new RedriveError('Another redrive is running.', true)
    isRunning = true
    let running: Promise<unknown> | undefined
    const start = (request: RedriveRequest) => {
      const started = redrive(request)
      running = started
      return started
    }
    // The lock stays until the redrive has ended, even if the request is answered earlier.
    const unlock = () => {
      isRunning = false
    }
    try {
      return await redriveOnce(place, requestedBy, start)
    } finally {
      if (running === undefined) unlock()
      else void running.then(unlock, unlock)
    }
  }
}

export const createQuarantine = ({ kafka, tail, reader, redrive, explain }: QuarantineDependencies): Quarantine => {
  const { topic } = reader

  const refresh = () => kafka.ask(`read topic ${topic}`, tail.refreshAgain)

  const fetchRecord = async ({ partition, offset }: Place): Promise<QuarantinedRecord | undefined> => {
    const marks = (await reader.watermarks()).get(partition)
    if (!marks && partition < (await reader.countPartitions()))
      throw new KafkaUnavailableError(`The partition ${topic}/${partition} has no leader.`)
    if (!marks || BigInt(offset) < BigInt(marks.low) || BigInt(offset) >= BigInt(marks.stable)) return undefined
    const { records } = await reader.read(partition, Number(offset), Number(offset) + 1)
    const fetched = records.find((each) => each.offset === offset)
    return fetched && readQuarantined(fetched, partition)
  }

  return {
    topic,
    list: async ({ reason, after, limit }) => {
      const { records, isCut, actionFor } = await kafka.ask(`read topic ${topic}`, tail.refresh)
      const found = records.filter(
        (record) =>
          (reason === undefined || record.reason === reason) && (after === undefined || newestFirst(after, record) < 0),
      )
      const page = found.slice(0, limit).map((record) => ({ ...record, handled: actionFor(record) }))
      return { records: page, hasMore: found.length > limit, isCut }
    },
    read: async (place) => {
      const record = await fetchRecord(place)
      if (record === undefined) return undefined
      const current = await refresh()
      const facts = factsOf(record)
      const history = await kafka.ask(`read the audit of ${topic}`, () => current.entriesOf(place))
      return { record, facts: { ...facts, handled: current.actionFor(facts) }, history }
    },
    redrive: createRedriveOne({ fetchRecord, refresh }, { redrive, explain }),
  }
}
