import type { PlacedRecord } from '@customer-stream/schemas'
import { messageOf, SubscriberError } from './run-consumer.ts'

/** Record that cannot be read as a customer. */
export interface InvalidRecord<Reason extends string> {
  readonly record: PlacedRecord
  /** Stable name of the reason. */
  readonly reason: Reason
  /** Description for people, in one sentence. */
  readonly detail: string
}

/**
 * Decision about an invalid record.
 * - `skip`: the subscription continues after the record.
 * - `park`: the subscription calls `park`, and continues when `park` has resolved.
 * - `stop`: the subscription ends with an error. The next start reads the record again.
 */
export type InvalidDecision = 'skip' | 'park' | 'stop'

export interface InvalidHandling<Reason extends string> {
  /** Called for each invalid record. Default: `stop`, so that no record is lost unnoticed. */
  readonly onInvalid?: ((invalid: InvalidRecord<Reason>) => InvalidDecision | Promise<InvalidDecision>) | undefined
  /** Stores a record for which `onInvalid` returned `park`, e.g. in a dead-letter topic. */
  readonly park?: ((invalid: InvalidRecord<Reason>) => void | Promise<void>) | undefined
}

/** Returns the place of a record as a text for error messages. */
export const placeOf = ({ topic, partition, offset }: Pick<PlacedRecord, 'topic' | 'partition' | 'offset'>): string =>
  `${topic}/${partition} offset ${offset}`

/**
 * Calls a function that the user of this package provided.
 * @throws SubscriberError with the function's name and the place in the topic, if the function
 *   failed.
 */
export const call = async <T>(name: string, place: string, run: () => T | Promise<T>): Promise<T> => {
  try {
    return await run()
  } catch (error) {
    throw new SubscriberError(`${place}: ${name} failed: ${messageOf(error)}`, { cause: error })
  }
}

/**
 * Calls `onInvalid`, and handles the invalid record by its decision. Resolves if the subscription
 * may continue.
 * @throws SubscriberError if the subscription must end.
 */
export const handleInvalid = async <Reason extends string>(
  invalid: InvalidRecord<Reason>,
  { onInvalid = () => 'stop', park }: InvalidHandling<Reason>,
): Promise<void> => {
  const { record, reason, detail } = invalid
  const place = placeOf(record)
  const decision = await call('onInvalid', place, () => onInvalid(invalid))
  if (decision === 'skip') return
  if (decision === 'park' && park) return call('park', place, () => park(invalid))
  const why = {
    stop: `${reason}: ${detail}`,
    park: 'onInvalid decided park, but there is no park function',
  }[decision as 'stop' | 'park']
  throw new SubscriberError(`${place}: ${why ?? `onInvalid decided ${decision}, not skip, park or stop`}`)
}
