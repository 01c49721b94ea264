/**
 * Streams changes to one client, as Server-Sent Events. First the stream catches up: it reads older
 * changes from Kafka. Then the stream is live, and reads the log of changes. The stream reads only
 * as fast as its client. A stream is cut off if its next change is no longer in the log, or if its
 * client reads nothing between two heartbeats.
 */
import { Readable } from 'node:stream'
import type { FetchedPart } from '@customer-stream/runtime/kafka'
import { type Change, createChange } from './change.ts'
import type { ChangeLog, LogPlace } from './change-log.ts'
import type { ChangeView, ShownChange } from './change-view.ts'
import { offsetText, positionText } from './stream-position.ts'

/**
 * Reason for the end of a stream:
 * - `client`: the client has closed the connection.
 * - `slow`: the client reads too slowly.
 * - `key`: the API key has changed or is no longer valid.
 * - `topic`: the topic was created again or has lost records.
 * - `kafka`: older changes could not be read.
 * - `stop`: the service stops.
 */
export const STREAM_ENDS = ['client', 'slow', 'key', 'topic', 'kafka', 'stop'] as const
export type StreamEnd = (typeof STREAM_ENDS)[number]

export interface ShownGroup {
  /** Customers of the events `changed`. */
  readonly changed: readonly string[]
  /** Number of events `removed`. */
  readonly removed: number
}

export interface ChangeStreamDependencies {
  readonly log: ChangeLog
  readonly view: ChangeView
  /** Reads older changes of a partition from Kafka, from `offset` to `until` - 1. */
  readonly readOlder: (partition: number, offset: number, until: number) => Promise<FetchedPart>
  /** Called for each group of events, before the events are sent. */
  readonly onShown: (group: ShownGroup) => void
  readonly onEnd: (reason: StreamEnd) => void
}

export interface ChangeStream {
  /** The text of the events. */
  readonly body: Readable
  /**
   * Sends the new changes of the log.
   * @param from place in the log. A live stream skips all changes before this place, because none
   *   of them is for this stream.
   */
  pump(from: LogPlace): void
  /** Sends a heartbeat with the position. Cuts the stream off if its client reads nothing. */
  beat(): void
  /** Ends the stream. The client then connects again. */
  end(reason: StreamEnd): void
}

const MAX_BUFFERED_BYTES = 64 * 1024

/**
 * Tells the client to wait for a random time before it connects again. Otherwise all clients would
 * connect at the same moment.
 */
const retryLine = (): string => `retry: ${1000 + Math.floor(Math.random() * 4000)}\n`

/** Creates a group of events that are sent together. */
const createGroup = () => {
  const events: Buffer[] = []
  const changed: string[] = []
  let size = 0
  return {
    isFull: () => size >= MAX_BUFFERED_BYTES,
    add: ({ name, customerUuid, event }: ShownChange, id: string) => {
      const bytes = event(id)
      if (bytes === undefined) return
      events.push(bytes)
      size += bytes.byteLength
      if (name === 'changed') changed.push(customerUuid)
    },
    shown: (): ShownGroup => ({ changed, removed: events.length - changed.length }),
    /** Undefined if the group is empty. */
    bytes: () => (events.length > 1 ? Buffer.concat(events, size) : events[0]),
  }
}
type Group = ReturnType<typeof createGroup>

/**
 * Creates the answer to one client.
 * @param onRead called when the client has read all sent bytes.
 */
const createOutlet = (onRead: () => void, onEnd: (reason: StreamEnd) => void) => {
  let isFull = false
  let hasRead = false
  let hasEnded = false
  let wake = () => {}
  const body = new Readable({
    highWaterMark: MAX_BUFFERED_BYTES,
    read: () => {
      isFull = false
      hasRead = true
      wake()
      onRead()
    },
    destroy: (error, done) => {
      finish('client')
      done(error)
    },
  })
  const finish = (reason: StreamEnd) => {
    if (hasEnded) return
    hasEnded = true
    wake()
    onEnd(reason)
  }
  return {
    body,
    isFull: () => isFull,
    /**
     * Returns true if the client has read nothing since the last call. A full buffer alone does not
     * show this, because a stream that is behind fills the buffer again as soon as its client has
     * read.
     */
    isStuck: () => {
      const isStuck = isFull && !hasRead
      hasRead = false
      return isStuck
    },
    hasEnded: () => hasEnded,
    push: (bytes: string | Buffer) => {
      isFull = !body.push(bytes)
    },
    /** Resolves when the client has read all sent bytes, or when the stream has ended. */
    untilRead: async () => {
      while (isFull && !hasEnded) {
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = resolve
        await promise
      }
    },
    end: (reason: StreamEnd) => {
      if (hasEnded) return
      finish(reason)
      body.push(`${retryLine()}\n`)
      body.push(null)
    },
    /** Ends the stream of a client that reads too slowly. */
    cutOff: () => {
      finish('slow')
      body.destroy()
    },
  }
}

export const createChangeStream = (
  { log, view, readOlder, onShown, onEnd }: ChangeStreamDependencies,
  start: readonly number[],
): ChangeStream => {
  let offsets = [...start]
  const { topic = '' } = log
  let place = 0
  let isLive = false
  /**
   * False while the stream is ahead of the log in a partition. The ids of the log are then too old
   * for this stream.
   */
  let isAligned = false
  const outlet = createOutlet(() => pump(), onEnd)
  const ownId = () =>
    positionText(
      topic,
      Array.from(offsets, (offset = 0) => offsetText(offset)),
    )

  /** @param id position of the log after the change. Undefined if the stream is not aligned. */
  const add = (group: Group, change: Change, id?: string) => {
    offsets[change.partition] = change.offset + 1
    const shown = view.show(change)
    if (shown) group.add(shown, id ?? ownId())
  }
  const send = (group: Group) => {
    const bytes = group.bytes()
    if (bytes === undefined || outlet.hasEnded()) return
    onShown(group.shown())
    outlet.push(bytes)
  }

  const skipTo = ({ number, offsets: next }: LogPlace) => {
    if (!isLive || !isAligned || outlet.isFull() || place >= number) return
    place = number
    offsets = [...next]
  }
  const pump = () => {
    if (outlet.hasEnded() || !isLive) return
    if (place < log.first) {
      if (outlet.isFull()) return outlet.cutOff()
      // More changes came at once than the log holds. The client is not too slow, so read the
      // changes from Kafka.
      isLive = false
      isAligned = false
      return startCatchUp()
    }
    while (!outlet.isFull() && place < log.end) {
      const group = createGroup()
      for (; place < log.end && !group.isFull(); place++) {
        const { change, id } = log.at(place)
        if (change.offset >= (offsets[change.partition] ?? 0)) add(group, change, isAligned ? id : undefined)
      }
      send(group)
    }
    if (place === log.end) isAligned ||= offsets.every((offset, i) => offset <= (log.offsets[i] ?? 0))
  }

  /** Reads one part of a partition from Kafka. Waits until the client has read it. */
  const readPart = async (partition: number) => {
    const until = log.offsets[partition] ?? 0
    const { records, nextOffset } = await readOlder(partition, offsets[partition] ?? 0, until)
    // If the stream ended during the read, show nothing: a closed view must remember no customer.
    if (outlet.hasEnded()) return
    const group = createGroup()
    for (const record of records) add(group, createChange(partition, record))
    send(group)
    offsets[partition] = Number(nextOffset)
    await outlet.untilRead()
  }
  const catchUp = async () => {
    for (let partition = log.missingFor(offsets); partition !== undefined; partition = log.missingFor(offsets)) {
      if (outlet.hasEnded()) return
      await readPart(partition)
    }
    place = log.first
    isLive = true
    pump()
  }

  const startCatchUp = () => void catchUp().catch(() => outlet.end('kafka'))

  outlet.push(`${retryLine()}id: ${ownId()}\n\n`)
  startCatchUp()

  return {
    body: outlet.body,
    pump: (from) => {
      skipTo(from)
      pump()
    },
    beat: () => {
      if (outlet.hasEnded()) return
      if (outlet.isStuck()) return outlet.cutOff()
      // Send no heartbeat, because the waiting events show that the connection is alive.
      if (outlet.isFull()) return
      outlet.push(`: heartbeat\nid: ${isAligned && place === log.end ? log.id : ownId()}\n\n`)
    },
    end: outlet.end,
  }
}
