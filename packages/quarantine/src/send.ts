/** Sends records to Kafka while a person waits for the result. */
import { retryWithBackoff } from '@customer-stream/runtime'
import type { VerifiedProducer } from '@customer-stream/runtime/kafka'
import { attributed, errorType, NotStoredError, type OutgoingRecord } from '@customer-stream/runtime/kafka'

type Producer = Pick<VerifiedProducer, 'send' | 'partitionOf'>

/** Maximum time for the attempts of one send. */
const PATIENCE_MS = 30_000
const BACKOFF = { initialMs: 200, maxMs: 2000 }

const isOutage = (error: Error): boolean =>
  error instanceof NotStoredError &&
  error.kind === 'unavailable' &&
  !errorType(error)?.endsWith('_AUTHORIZATION_FAILED')

/**
 * Resolves when all in-sync replicas have stored the records. Repeats the send during an outage, so
 * Kafka may store a record more than once.
 * @throws NotStoredError if Kafka refuses a record, or if the outage lasts longer than 30 s.
 */
export const sendAll = async (
  producer: Pick<Producer, 'send'>,
  records: readonly OutgoingRecord[],
  patienceMs = PATIENCE_MS,
): Promise<void> => {
  const [first] = records
  if (first === undefined) return
  let last: Error | undefined
  await attributed(`write to topic ${first.topic}`, async () => {
    const sent = await retryWithBackoff(() => producer.send(records), {
      signal: AbortSignal.timeout(patienceMs),
      backoff: BACKOFF,
      onFailure: (error) => {
        if (!isOutage(error)) throw error
        last = error
      },
    })
    if (sent === undefined) throw last
  })
}

const isRefusal = (error: unknown): boolean => error instanceof NotStoredError && error.kind === 'refused'

/** Outcome of a send. Kafka has stored each record that is in neither map. */
export interface Sent {
  /** Records that Kafka refuses, each with Kafka's error message. */
  readonly refusals: ReadonlyMap<OutgoingRecord, string>
  /** Records that Kafka has not acknowledged, each with the error. Kafka may have stored them. */
  readonly failures: ReadonlyMap<OutgoingRecord, unknown>
}

/**
 * Sends one request for each partition. So if one partition is not available, the records of the
 * other partitions are not sent again. If Kafka refuses a record, sends the records of its
 * partition one after another.
 */
export const sendEach = async (
  producer: Producer,
  records: readonly OutgoingRecord[],
  patienceMs = PATIENCE_MS,
): Promise<Sent> => {
  const refusals = new Map<OutgoingRecord, string>()
  const failures = new Map<OutgoingRecord, unknown>()
  const send = async (some: readonly OutgoingRecord[]): Promise<void> => {
    try {
      await sendAll(producer, some, patienceMs)
    } catch (error) {
      const [first] = some
      if (!isRefusal(error)) for (const record of some) failures.set(record, error)
      else if (first !== undefined && some.length === 1) refusals.set(first, (error as Error).message)
      else for (const record of some) await send([record])
    }
  }
  const byPartition = Map.groupBy(records, (record) => `${record.topic}/${producer.partitionOf(record)}`)
  await Promise.all([...byPartition.values()].map(send))
  return { refusals, failures }
}
