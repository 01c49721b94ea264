/** All streams of changes. The state topic is read once for all streams. */

import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TopicTailOptions } from '@customer-stream/runtime/kafka'
import type { ReaderMetrics } from '../metrics.ts'
import type { TopicReader } from '../topic-reader.ts'
import { type ChangeLog, createChangeLog } from './change-log.ts'
import { type ChangeStream, createChangeStream } from './change-stream.ts'
import { createChangeView, type ViewOptions } from './change-view.ts'
import { createDispatch } from './dispatch.ts'
import type { StreamPosition } from './stream-position.ts'

export interface StreamRequest {
  /** Name of the API key. */
  readonly key: string
  readonly view: ViewOptions
  /** Undefined if the stream begins at the end of the topic. */
  readonly after: StreamPosition | undefined
  /** Called for each group of events that shows documents, with the customers of the group. */
  readonly onChanged: (customerUuids: readonly string[]) => void
  /** Returns false if the API key has changed or is no longer valid. Called at each heartbeat. */
  readonly isValid: () => boolean
}

/**
 * - `full`: the process has READER_MAX_STREAMS streams.
 * - `key-full`: the API key has READER_MAX_KEY_STREAMS streams.
 * - `gone`: Kafka lacks changes after the position, or the position belongs to another topic.
 * - `unavailable`: Kafka does not answer, or the service stops.
 */
export type OpenedStream =
  | { readonly kind: 'stream'; readonly body: Readable }
  | { readonly kind: 'full' | 'key-full' | 'gone' | 'unavailable' }

export interface Changes {
  open(request: StreamRequest): Promise<OpenedStream>
  /** Receives the records of the state topic. */
  readonly tail: Pick<TopicTailOptions, 'lookBack' | 'onBegin' | 'onPart'>
  /** Sends heartbeats until the service stops, then ends all streams. */
  run(): Promise<void>
}

export interface ChangesOptions {
  readonly maxStreams: number
  readonly maxKeyStreams: number
  readonly heartbeatMs: number
}

/** Bounds of the memory for all streams. */
const LOG_LIMITS = { maxChanges: 10_000, maxBytes: 16 * 1024 * 1024 }

/**
 * Number of older changes of each partition that the log reads at its start. A client that was
 * connected before can then continue from memory.
 */
const LOOK_BACK = 200

/**
 * Maximum age of a position. Kafka keeps a tombstone for 7 days (`delete.retention.ms`), so after
 * an older position the tombstone of an erased customer may be missing. The limit is one day
 * shorter, because a client may catch up slowly.
 */
const MAX_AGE_SECONDS = 6 * 24 * 3600

interface OpenStream {
  readonly stream: ChangeStream
  readonly request: StreamRequest
}

export interface ChangesDependencies {
  readonly topic: Pick<TopicReader, 'watermarks' | 'read'>
  readonly metrics: Pick<ReaderMetrics, 'streams' | 'streamEvents' | 'streamEnds'>
  /** Returns true if Kafka answers. */
  readonly isAvailable: () => boolean
  readonly stopping: AbortSignal
}

/** Returns undefined if Kafka has all changes after the position. */
const refusalOf = async (
  position: StreamPosition,
  log: ChangeLog,
  topic: Pick<TopicReader, 'watermarks'>,
): Promise<'gone' | 'unavailable' | undefined> => {
  const isOld = position.writtenAt < Date.now() / 1000 - MAX_AGE_SECONDS
  if (isOld || position.topic !== log.topic) return 'gone'
  let watermarks: Awaited<ReturnType<typeof topic.watermarks>> | undefined
  for (const [partition, offset] of position.offsets.entries()) {
    if (log.hasFrom(partition, offset)) continue
    watermarks ??= await topic.watermarks()
    const marks = watermarks.get(partition)
    // A partition without a leader has no watermarks.
    if (marks === undefined) return partition < log.offsets.length ? 'unavailable' : 'gone'
    if (offset < Number(marks.low) || offset > Number(marks.high)) return 'gone'
  }
  // The topic may have been created again in the meantime. The new topic has other changes at the
  // same offsets.
  return position.topic === log.topic ? undefined : 'gone'
}

export const createChanges = (
  { topic, metrics, isAvailable, stopping }: ChangesDependencies,
  { maxStreams, maxKeyStreams, heartbeatMs }: ChangesOptions,
  log: ChangeLog = createChangeLog(LOG_LIMITS),
): Changes => {
  const streams = new Set<OpenStream>()
  const dispatch = createDispatch(log)
  /** Number of requests that wait for Kafka, by API key. Each of them counts as a stream. */
  const opening = new Map<string, number>()
  const countOf = (key: string) =>
    (opening.get(key) ?? 0) + [...streams].filter(({ request }) => request.key === key).length
  const countAll = () => [...opening.values()].reduce((sum, count) => sum + count, streams.size)

  const start = (request: StreamRequest): ChangeStream => {
    const view = createChangeView(request.view, dispatch.shownCustomers)
    const stream = createChangeStream(
      {
        log,
        view,
        readOlder: topic.read,
        onShown: ({ changed, removed }) => {
          if (removed > 0) metrics.streamEvents.labels('removed').inc(removed)
          if (changed.length === 0) return
          metrics.streamEvents.labels('changed').inc(changed.length)
          request.onChanged(changed)
        },
        onEnd: (reason) => {
          metrics.streamEnds.inc({ reason })
          streams.delete(entry)
          dispatch.remove(stream, request.view)
          view.close()
          metrics.streams.set(streams.size)
        },
      },
      request.after?.offsets ?? log.offsets,
    )
    const entry = { stream, request }
    streams.add(entry)
    dispatch.add(stream, request.view)
    metrics.streams.set(streams.size)
    return stream
  }

  const isReady = () => log.topic !== undefined && isAvailable() && !stopping.aborted

  return {
    open: async (request) => {
      if (!isReady()) return { kind: 'unavailable' }
      const { key, after } = request
      if (countOf(key) >= maxKeyStreams) return { kind: 'key-full' }
      if (countAll() >= maxStreams) return { kind: 'full' }
      opening.set(key, (opening.get(key) ?? 0) + 1)
      try {
        const refusal = after && (await refusalOf(after, log, topic))
        if (refusal) return { kind: refusal }
      } finally {
        opening.set(key, (opening.get(key) ?? 1) - 1)
      }
      if (!isReady()) return { kind: 'unavailable' }
      return { kind: 'stream', body: start(request).body }
    },
    tail: {
      lookBack: LOOK_BACK,
      onBegin: (topicId, positions) => {
        log.begin(topicId, positions)
        for (const { stream } of streams) stream.end('topic')
      },
      onPart: (partition, part) => {
        log.add(partition, part)
        dispatch.schedule()
      },
    },
    run: async () => {
      while (!stopping.aborted) {
        await sleep(heartbeatMs, undefined, { signal: stopping }).catch(() => undefined)
        dispatch.passAll()
        for (const { stream, request } of streams) {
          if (stopping.aborted) stream.end('stop')
          else if (request.isValid()) stream.beat()
          else stream.end('key')
        }
      }
    },
  }
}
