import { createRequire } from 'node:module'
import {
  type AbortedTransaction,
  type DecodedRecords,
  decodeBatches,
  type UnreadableBatch,
  withoutAborted,
} from '../record-batches.ts'

interface Decoder {
  readInt32(): number
  canReadBytes(length: number): boolean
  readBytes(length: number): Buffer
}
/** Response to a fetch, as kafkajs decodes it. */
export interface Fetched {
  readonly throttleTime: number
  readonly clientSideThrottleTime: number
  readonly errorCode: number
  readonly sessionId: number
  readonly responses: readonly { readonly topicName: string; readonly partitions: readonly FetchedPartition[] }[]
}
export interface FetchedPartition {
  readonly partition: number
  readonly errorCode: number
  readonly highWatermark: string
  readonly preferredReadReplica: number
  abortedTransactions: readonly AbortedTransaction[] | null
  messages: DecodedRecords
}
interface Batch {
  readonly fetchedOffset: string
  readonly rawMessages: DecodedRecords
  isEmpty(): boolean
  isEmptyDueToFiltering(): boolean
  lastOffset(): string
}

const require = createRequire(import.meta.url)
/** Response versions of brokers before Kafka 2.3. Newer brokers answer with version 11. */
const RESPONSE_VERSIONS = ['v4', 'v5', 'v6', 'v7', 'v8', 'v9', 'v10']

/**
 * Makes kafkajs decode fetch responses with record-batches.ts, and pass on batches without records.
 * kafkajs 2.2.4 drops a batch without records (aborted transactions, control records, an unreadable
 * batch). So the consumer could not move the position past this batch. Must run before a client
 * fetches.
 */
export const patchFetch = (): void => {
  const decodeMessages = async (decoder: Decoder): Promise<DecodedRecords> => {
    const size = decoder.readInt32()
    return size > 0 && decoder.canReadBytes(size) ? decodeBatches(decoder.readBytes(size)) : []
  }
  const path = require.resolve('kafkajs/src/protocol/requests/fetch/v4/decodeMessages')
  require(path)
  // kafkajs loads its response modules at the first fetch. These modules load the decoder from
  // Node's module cache, so this patch replaces the decoder in that cache.
  const loaded = require.cache[path]
  if (loaded === undefined) throw new Error('kafkajs has no module that decodes fetches')
  loaded.exports = decodeMessages

  for (const version of RESPONSE_VERSIONS) {
    const response = require(`kafkajs/src/protocol/requests/fetch/${version}/response`) as {
      decode(data: Buffer): Promise<Fetched>
    }
    const { decode } = response
    response.decode = async (data) => {
      const fetched = await decode(data)
      for (const { partitions } of fetched.responses) {
        for (const partition of partitions) {
          partition.messages = withoutAborted(partition.messages, partition.abortedTransactions ?? [])
          partition.abortedTransactions = []
        }
      }
      return fetched
    }
  }

  const { prototype } = require('kafkajs/src/consumer/batch') as { prototype: Batch }
  prototype.isEmpty = function () {
    return this.rawMessages.nextOffset === undefined && this.rawMessages.unreadable === undefined
  }
  prototype.isEmptyDueToFiltering = () => false
  prototype.lastOffset = function () {
    const { nextOffset } = this.rawMessages
    const next =
      nextOffset === undefined || BigInt(nextOffset) < BigInt(this.fetchedOffset) ? this.fetchedOffset : nextOffset
    return String(BigInt(next) - 1n)
  }
}

/**
 * Returns the batch at the offset of this fetch, if the batch cannot be decoded. If readable
 * records precede an unreadable batch, kafkajs passes on these records first. The next fetch then
 * starts at the unreadable batch.
 */
export const unreadableOf = (batch: unknown): UnreadableBatch | undefined => {
  const { nextOffset, unreadable } = (batch as Batch).rawMessages
  return nextOffset === undefined ? unreadable : undefined
}
