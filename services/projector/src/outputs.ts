/**
 * Producers for quarantine and the state topic, and the requirements on all topics of the
 * projector.
 */
import { maxDocumentBytes, type ProjectorTopics, projectorDemands } from '@customer-stream/configuration'
import type { OutgoingRecord, TopicWatchOptions, VerifiedProducer } from '@customer-stream/runtime/kafka'
import type { ChangelogSource } from './changelog-source.ts'

export interface Outputs extends Pick<TopicWatchOptions, 'demands' | 'onPartitions'> {
  readonly quarantine: Pick<VerifiedProducer, 'send'>
  /** Undefined if the state topic is switched off. */
  readonly state: Pick<VerifiedProducer, 'send'> | undefined
  /**
   * Called with each assignment. Kafka then refuses late requests of the former owners to the state
   * topic.
   */
  takeOver(): void
  connect(): Promise<void>
  disconnect(): Promise<unknown>
}

/** Upper limit for the bytes of a record without its key, value and headers. */
const RECORD_BYTES = 100

const bytesOf = ({ key, value, headers = {} }: OutgoingRecord): number =>
  Object.entries(headers).reduce(
    (bytes, [name, text]) => bytes + Buffer.byteLength(name) + Buffer.byteLength(text),
    RECORD_BYTES + (key?.byteLength ?? 0) + (value?.byteLength ?? 0),
  )

/**
 * Splits records, in order, into parts of at most `maxBytes`. A larger record is alone in its part.
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
 * @param open creates producers, each with its own client. If kafkajs cannot get the metadata of
 *   one topic, it fails for all topics of that client.
 */
export const createOutputs = (
  open: Readonly<Record<'quarantine' | 'state', () => VerifiedProducer>>,
  sources: Readonly<Record<'stateSource' | 'erasuresSource', Pick<ChangelogSource, 'readCheck'> | undefined>>,
  topics: ProjectorTopics,
): Outputs => {
  const { topic, quarantineTopic, stateTopic, erasuresTopic } = topics
  const quarantine = open.quarantine()
  const state = stateTopic === undefined ? undefined : open.state()
  const fence = state?.fence
  const producers = [
    [quarantineTopic, quarantine] as const,
    ...(stateTopic && state ? [[stateTopic, state] as const] : []),
  ]
  const sourceOf = new Map([
    [stateTopic, sources.stateSource],
    [erasuresTopic, sources.erasuresSource],
  ])
  return {
    quarantine,
    // One send makes one batch for each partition. Kafka refuses a batch that is larger than the
    // maximum record size of the topic.
    state: state && {
      send: async (records) => {
        for (const part of partsOf(records, maxDocumentBytes(topics))) await state.send(part)
      },
    },
    takeOver: () => fence?.takeOver(),
    connect: async () => {
      await Promise.all(producers.map(([, producer]) => producer.connect()))
    },
    disconnect: () => Promise.allSettled(producers.map(([, producer]) => producer.disconnect())),
    demands: projectorDemands(topics).map((demand) => {
      const source = sourceOf.get(demand.topic)
      const fenceCheck = demand.topic === stateTopic && fence ? () => fence.check(demand.topic) : undefined
      return { ...demand, ...(source && { readCheck: source.readCheck }), ...(fenceCheck && { fenceCheck }) }
    }),
    // Each producer gets only its own topic, so that a problem of one topic stops only one
    // producer.
    onPartitions: async (given) => {
      const partitions = new Map(given)
      const [raw, own] = [given.get(topic), given.get(stateTopic ?? '')]
      // A fill does not read partition 7 of the state topic if the raw topic has no partition 7. So
      // the producer uses only partitions that both topics have. A person may then add partitions
      // first to the state topic, and later to the raw topic.
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
