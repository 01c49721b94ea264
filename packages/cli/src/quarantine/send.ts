/** Sends records to Kafka, for a command that a person waits for. */
import { retryWithBackoff } from '@customer-stream/runtime'
import type { VerifiedProducer } from '@customer-stream/runtime/kafka'
import { attributed, errorType, NotStoredError, type OutgoingRecord } from '@customer-stream/runtime/kafka'

type Producer = Pick<VerifiedProducer, 'send'>

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
export const sendAll = async (producer: Producer, records: readonly OutgoingRecord[]): Promise<void> => {
  const [first] = records
  if (first === undefined) return
  let last: Error | undefined
  const sent = await attributed(`write to topic ${first.topic}`, () =>
    retryWithBackoff(() => producer.send(records), {
      signal: AbortSignal.timeout(PATIENCE_MS),
      backoff: BACKOFF,
      onFailure: (error) => {
        if (!isOutage(error)) throw error
        last = error
      },
    }),
  )
  if (sent === undefined) throw last
}

const isRefusal = (error: unknown): boolean => error instanceof NotStoredError && error.kind === 'refused'

/**
 * Sends records, and sends them one after another if Kafka refuses any of them.
 * @returns the records that Kafka refuses, each with Kafka's error message.
 */
export const sendEach = async (
  producer: Producer,
  records: readonly OutgoingRecord[],
): Promise<ReadonlyMap<OutgoingRecord, string>> => {
  const refusals = new Map<OutgoingRecord, string>()
  const send = async (some: readonly OutgoingRecord[]): Promise<void> => {
    try {
      await sendAll(producer, some)
    } catch (error) {
      if (!isRefusal(error)) throw error
      const [first] = some
      if (first !== undefined && some.length === 1) refusals.set(first, (error as Error).message)
      else for (const record of some) await send([record])
    }
  }
  await send(records)
  return refusals
}
