import type { PlacedRecord } from '@customer-stream/schemas'
import { messageOf, SubscriberError } from './run-consumer.ts'

/** A record that holds no customer. */
export interface InvalidRecord<Reason extends string> {
  readonly record: PlacedRecord
  /** A stable name. */
  readonly reason: Reason
  /** One sentence for people. */
  readonly detail: string
}

/**
 * What happens to an invalid record.
 * - `skip`: it is passed over.
 * - `park`: it is given to `park`, and passed over when `park` has resolved.
 * - `stop`: the subscription ends with an error. It meets the record again at the next start.
 */
export type InvalidDecision = 'skip' | 'park' | 'stop'

export interface InvalidHandling<Reason extends string> {
  /** Called for each invalid record. Default: `stop`, so that nothing is lost unseen. */
  readonly onInvalid?: ((invalid: InvalidRecord<Reason>) => InvalidDecision | Promise<InvalidDecision>) | undefined
  /** Stores a record on which `onInvalid` decided `park`, e.g. in a dead-letter topic. */
  readonly park?: ((invalid: InvalidRecord<Reason>) => void | Promise<void>) | undefined
}

/** Text of a record's place, for error messages. */
export const placeOf = ({ topic, partition, offset }: Pick<PlacedRecord, 'topic' | 'partition' | 'offset'>): string =>
  `${topic}/${partition} offset ${offset}`

/**
 * Calls a function of the caller.
 * @throws SubscriberError with its name and the place in the topic if it failed.
 */
export const call = async <T>(name: string, place: string, run: () => T | Promise<T>): Promise<T> => {
  try {
    return await run()
  } catch (error) {
    throw new SubscriberError(`${place}: ${name} failed: ${messageOf(error)}`, { cause: error })
  }
}

/**
 * Handles an invalid record as `onInvalid` decides. Resolves if the record may be passed over.
 * @throws SubscriberError otherwise.
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
