import { createLogger, loadSettings, retryWithBackoff } from '@customer-stream/runtime'
import { checkTopics, kafkaSettings } from '@customer-stream/runtime/kafka'
import type { Pipeline } from '@customer-stream/testing'
import type { Bench } from '../questions/question.ts'

/**
 * Options of retryWithBackoff: retries forever, because a new topic may have no leader for a
 * moment.
 */
export const endlessRetry = {
  signal: new AbortController().signal,
  backoff: { initialMs: 100, maxMs: 1000 },
  onFailure: () => undefined,
}

/** Creates topics with the settings of production. Resolves when each partition has a leader. */
export const createTopics = async (
  { brokers }: Bench,
  { admin }: Pipeline,
  topics: readonly string[],
  partitions: number,
): Promise<void> => {
  const settings = loadSettings(kafkaSettings, {
    KAFKA_BROKERS: brokers.kafkaBrokers.join(','),
    KAFKA_CREATE_TOPICS: 'true',
    KAFKA_REPLICATION_FACTOR: '1',
    KAFKA_PARTITIONS: String(partitions),
  })
  const demands = topics.map((topic) => ({ topic, maxValueBytes: 1024 * 1024 }))
  await retryWithBackoff(() => checkTopics(admin, settings, demands, createLogger('bench', 'silent')), endlessRetry)
}
