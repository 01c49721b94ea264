import { type MadeEvent, makeCustomersEvent, makeOtherEvent } from './events.ts'
import { Random } from './random.ts'

export interface SequenceOptions {
  readonly seed: number
  readonly events: number
  readonly customers: number
  /**
   * Unix milliseconds. The last event is 1 ms older than this time. All other events are older. The
   * seed and this time determine every body.
   */
  readonly newestTimestamp: number
  /** Share of events of other types. */
  readonly other: number
  /** Share of events that are sent after a newer event of the same customer. */
  readonly disorder: number
}

export interface SequencedEvent extends MadeEvent {
  /** Random numbers for this event's drops, repeats and backoff. */
  readonly random: Random
}

// Numbers of random streams. An event uses the stream of its own number. Customers and dealers use
// far greater numbers, so no two of them share a stream.
const CUSTOMER_STREAM = 0x4000_0000
const DEALER_STREAM = 0x7f00_0000
const DEALERS = 5
const LONGEST_HOLD = 100

/**
 * Creates the events one at a time, in the order of sending. Memory grows with `customers` (12
 * bytes each), not with `events`.
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
      // Never delay two events in a row: after a delayed event, a newer event of the same customer
      // must be sent first. Never delay the last event, because no other event comes after it.
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
    // Sometimes give two events of a customer the same timestamp. The id then decides which event
    // is newer.
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
