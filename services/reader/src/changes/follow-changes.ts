/** Connects the streams of changes with the state topic. */
import type { ReaderSettings } from '@customer-stream/configuration'
import { followTopic } from '@customer-stream/runtime/kafka'
import { stateTopicName } from '@customer-stream/schemas'
import type { ReaderKafka } from '../kafka.ts'
import type { ReaderMetrics } from '../metrics.ts'
import { createTopicReader } from '../topic-reader.ts'
import { type Changes, createChanges } from './changes.ts'

export interface FollowedChanges extends Pick<Changes, 'open'> {
  /** Reads the state topic and serves the streams, until the service stops. */
  run(): Promise<void>
}

/**
 * Interval of heartbeats. Many proxies close a connection that is silent for 30 or 60 s.
 */
const HEARTBEAT_MS = 10_000

/** Returns undefined if the state topic is switched off. */
export const followChanges = ({
  settings,
  kafka,
  metrics,
  stopping,
}: {
  readonly settings: ReaderSettings
  readonly kafka: ReaderKafka
  readonly metrics: ReaderMetrics
  readonly stopping: AbortSignal
}): FollowedChanges | undefined => {
  if (!settings.KAFKA_STATE_TOPIC) return undefined
  const topic = stateTopicName(settings.KAFKA_TOPIC_PREFIX)
  const changes = createChanges(
    {
      topic: createTopicReader(kafka, topic),
      metrics,
      stopping,
      isAvailable: () => kafka.problem === undefined,
    },
    {
      maxStreams: settings.READER_MAX_STREAMS,
      maxKeyStreams: settings.READER_MAX_KEY_STREAMS,
      heartbeatMs: HEARTBEAT_MS,
    },
  )
  const tail = { admin: kafka.openAdmin(), topic, signal: stopping, onProblem: kafka.report, ...changes.tail }
  return {
    open: changes.open,
    run: async () => {
      await Promise.all([followTopic(tail), changes.run()])
    },
  }
}
