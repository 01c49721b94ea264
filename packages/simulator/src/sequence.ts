import { type MadeEvent, makeCustomersEvent, makeOtherEvent } from './events.ts'
import { Random } from './random.ts'

export interface SequenceOptions {
  readonly seed: number
  readonly events: number
  readonly customers: number
  /**
   * Unix milliseconds. All events are older, the last one by 1 ms. With the seed it determines
   * every body.
   */
  readonly newestTimestamp: number
  /** Share of events of other types. */
  readonly other: number
  /** Share of events that are sent after a later event of the same customer. */
  readonly disorder: number
}

export interface SequencedEvent extends MadeEvent {
  /** Random numbers for this event's drops, repeats and backoff. */
  readonly random: Random
}

// Streams of one seed. The stream of an event is its number, so all other streams have far greater
// numbers.
const CUSTOMER_STREAM = 0x4000_0000
const DEALER_STREAM = 0x7f00_0000
const DEALERS = 5
const LONGEST_HOLD = 100

/**
 * Creates the events one at a time, in the order of sending. Memory grows with `customers` (12
 * bytes each) and not with `events`.
 */
export function* makeSequence(options: SequenceOptions): Generator<SequencedEvent> {
  const { seed, events, customers, newestTimestamp, other, disorder } = options
  const versions = new Uint32Array(customers)
  const latest = new Float64Array(customers)
  const held = new Map<number, SequencedEvent[]>()
  const dealers = Array.from({ length: DEALERS }, (_, nth) => {
    const random = new Random(seed, DEALER_STREAM + nth)
    return { dealeruuid: random.hex(63), departmentuuid: random.hex(63) }
  })
  let followed: number | undefined

  for (let i = 0; i < events; i++) {
    const random = new Random(seed, i)
    const timestamp = newestTimestamp - (events - i)
    const follows = followed
    followed = undefined
    if (follows === undefined && random.chance(other)) {
      yield { ...makeOtherEvent({ timestamp }, random), random }
    } else {
      const customer = follows ?? random.below(customers)
      const event = nextOf(customer, timestamp, random)
      // An event that follows a delayed one is never delayed, because it is the one that overtakes.
      // The last event is never delayed either, because no event follows.
      if (follows === undefined && i < events - 1 && random.chance(disorder)) {
        followed = customer
        const release = i + 1 + random.below(LONGEST_HOLD)
        held.set(release, [...(held.get(release) ?? []), event])
      } else yield event
    }
    yield* held.get(i) ?? []
    held.delete(i)
  }
  for (const rest of held.values()) yield* rest

  function nextOf(customer: number, now: number, random: Random): SequencedEvent {
    const version = versions[customer]!
    versions[customer] = version + 1
    // Sometimes two events of a customer have the same timestamp. Then the id decides which is
    // newer.
    const timestamp = version > 0 && random.chance(0.05) ? latest[customer]! : now
    latest[customer] = timestamp
    const persona = new Random(seed, CUSTOMER_STREAM + customer)
    const made = makeCustomersEvent(
      {
        timestamp,
        ...persona.pick(dealers),
        addressesStand: random.chance(0.15) ? 'inside' : 'beside',
        payloadForm: random.chance(0.02) ? 'object' : 'string',
        legacy: random.chance(0.02),
      },
      { persona, change: random, version },
    )
    return { id: made.id, timestamp, type: made.type, customerUuid: made.customerUuid, body: made.body, random }
  }
}
