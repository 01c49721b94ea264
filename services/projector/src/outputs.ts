/**
 * Producers of the quarantine and the state topic, and the demands on all topics of the projector.
 */
import type { OutgoingRecord, TopicWatchOptions, VerifiedProducer } from '@customer-stream/runtime/kafka'
import type { ChangelogSource } from './changelog-source.ts'

export interface OutputsOptions {
  /** The topic that the projector reads. */
  readonly topic: string
  readonly quarantineTopic: string
  /** Undefined if the state topic is switched off. */
  readonly stateTopic: string | undefined
  /** Undefined if erasures are switched off. */
  readonly erasuresTopic: string | undefined
  /** Bytes of the largest record in `topic`. */
  readonly maxValueBytes: number
}

export interface Outputs extends Pick<TopicWatchOptions, 'demands' | 'onPartitions'> {
  readonly quarantine: Pick<VerifiedProducer, 'send'>
  /** Undefined if the state topic is switched off. */
  readonly state: Pick<VerifiedProducer, 'send'> | undefined
  connect(): Promise<void>
  disconnect(): Promise<unknown>
}

/**
 * Upper bound for the ratio between the sizes of a state document and of its event. A document has
 * each number in its usual form, so 1e20 and its comma (5 bytes) become 22 bytes: 4.4 times. A byte
 * of another charset becomes at most 3 bytes. A document has the customerUuid twice. The record
 * overhead of the topic has room for the second copy, because a key has at most 32 KiB.
 */
const DOCUMENT_GROWTH = 5

/**
 * An erasure has two texts of 1000 code points, and JSON needs up to 12 bytes a code point: 2 ×
 * 1000 × 12 = 24,000 bytes.
 */
const MAX_ERASURE_BYTES = 32 * 1024

/** Upper bound for the bytes of a record besides its key, value and headers. */
const RECORD_BYTES = 100

const bytesOf = ({ key, value, headers = {} }: OutgoingRecord): number =>
  Object.entries(headers).reduce(
    (bytes, [name, text]) => bytes + Buffer.byteLength(name) + Buffer.byteLength(text),
    RECORD_BYTES + (key?.byteLength ?? 0) + (value?.byteLength ?? 0),
  )

/**
 * Splits records, in order, into parts of at most `maxBytes`. A larger record is a part of its own.
 */
export const partsOf = (records: readonly OutgoingRecord[], maxBytes: number): OutgoingRecord[][] => {
  const parts: OutgoingRecord[][] = []
  let left = 0
  for (const record of records) {
    const bytes = bytesOf(record)
    if (parts.length === 0 || bytes > left) {
      parts.push([])
      left = maxBytes
    }
    parts.at(-1)?.push(record)
    left -= bytes
  }
  return parts
}

/**
 * @param open creates a producer with a client of its own. If kafkajs cannot get the metadata of
 *   one topic, it fails for all topics of that client.
 */
export const createOutputs = (
  open: () => VerifiedProducer,
  sources: Readonly<Record<'stateSource' | 'erasuresSource', Pick<ChangelogSource, 'readCheck'> | undefined>>,
  { topic, quarantineTopic, stateTopic, erasuresTopic, maxValueBytes }: OutputsOptions,
): Outputs => {
  const quarantine = open()
  const state = stateTopic === undefined ? undefined : open()
  const producers = [
    [quarantineTopic, quarantine] as const,
    ...(stateTopic && state ? [[stateTopic, state] as const] : []),
  ]
  const maxDocumentBytes = DOCUMENT_GROWTH * maxValueBytes
  /** Returns the demand on a changelog topic. Empty if the topic is switched off. */
  const changelog = (
    name: string | undefined,
    source: Pick<ChangelogSource, 'readCheck'> | undefined,
    demand: { readonly maxValueBytes: number; readonly writes?: true },
  ) => {
    if (name === undefined) return []
    const readCheck = source && { readCheck: source.readCheck }
    return [{ topic: name, ...demand, ...readCheck, kind: 'changelog' as const, partitionsOf: topic }]
  }
  return {
    quarantine,
    // One send makes one batch for each partition. Kafka refuses a batch that is larger than the
    // maximum record size of the topic.
    state: state && {
      send: async (records) => {
        for (const part of partsOf(records, maxDocumentBytes)) await state.send(part)
      },
    },
    connect: async () => {
      await Promise.all(producers.map(([, producer]) => producer.connect()))
    },
    disconnect: () => Promise.allSettled(producers.map(([, producer]) => producer.disconnect())),
    demands: [
      { topic, maxValueBytes },
      { topic: quarantineTopic, maxValueBytes, writes: true, kind: 'quarantine' },
      ...changelog(stateTopic, sources.stateSource, { maxValueBytes: maxDocumentBytes, writes: true }),
      ...changelog(erasuresTopic, sources.erasuresSource, { maxValueBytes: MAX_ERASURE_BYTES }),
    ],
    // Each producer gets only its own topic, so that a problem of one topic stops one producer
    // only.
    onPartitions: async (given) => {
      const partitions = new Map(given)
      const [raw, own] = [given.get(topic), given.get(stateTopic ?? '')]
      // A fill reads the partitions of the state topic that the raw topic has too. So a person may
      // add partitions to the state topic first, and each document is in a partition that is read.
      if (stateTopic !== undefined && raw !== undefined && own !== undefined)
        partitions.set(stateTopic, Math.min(raw, own))
      await Promise.all(
        producers.map(([name, producer]) =>
          producer.setPartitions(new Map([...partitions].filter(([found]) => found === name))),
        ),
      )
    },
  }
}
