export type { FetchedBatch, FetchedRecord } from './batch-handler.ts'
export * from './client.ts'
export * from './consumer.ts'
export type { CommittedOffset, GroupDescription, GroupMember } from './consumer-group.ts'
export * from './diagnosis.ts'
export { errorType, isKafkaError } from './error-type.ts'
export { attributed } from './failed-request.ts'
export type { KafkaClient } from './kafka-client.ts'
export { createPartitionReader, type FetchedPart, type PartitionReader } from './partition-reader.ts'
export { readUncommitted } from './patches/isolation.ts'
export * from './probe.ts'
export * from './producer.ts'
export { quotaDelay } from './quota.ts'
export * from './read-topic.ts'
export type { UnreadableBatch } from './record-batches.ts'
export * from './settings.ts'
export {
  createAdmin,
  type NewTopic,
  type PartitionDescription,
  type PartitionEnds,
  type TopicAdmin,
} from './topic-admin.ts'
export * from './topic-check.ts'
export { readTopicIdentity, type TopicIdentity } from './topic-identity.ts'
export {
  findingLine,
  RECORD_OVERHEAD_BYTES,
  TIMESTAMP_LIMITS,
  type TopicDemand,
  type TopicFinding,
} from './topic-rules.ts'
export { followTopic, type TopicTailOptions } from './topic-tail.ts'
export * from './topic-watch.ts'
export { readWatermarks, type Watermarks } from './watermarks.ts'
export * from './write-check.ts'
