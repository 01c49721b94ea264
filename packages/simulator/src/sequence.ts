import { type MadeEvent, makeCustomersEvent, makeOtherEvent } from './events.ts'
import { Random } from './random.ts'

export interface SequenceOptions {
  readonly seed: number
  readonly events: number
  readonly customers: number
  /** Every event is older than this (Unix ms), the last one made by 1 ms. Together with the seed it fixes every body. */
  readonly newestTimestamp: number
  /** Share of events of other types. */
  readonly other: number
  /** Share of events that are held back until later ones have been sent, one of the same customer among them. */
  readonly disorder: number
}

export interface SequencedEvent extends MadeEvent {
  /** The event's own luck: drops, repeats and back-off draw from it. */
  readonly random: Random
}

// Streams of one seed; an event's stream is its number, so those of the rest start far above.
const CUSTOMER_STREAM = 0x4000_0000
const DEALER_STREAM = 0x7f00_0000
const DEALERS = 5
const LONGEST_HOLD = 100

/** The events in the order in which they are to be sent. Made one at a time: memory grows with `customers` (12 bytes each), not with `events`. */
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
      // One that follows a held event is never held itself: it is the later event that overtakes. Nor is the last, which nothing could overtake.
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
    // Now and then two events of a customer share a timestamp, and only the id tells which is newer.
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
