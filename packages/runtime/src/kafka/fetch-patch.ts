import { createRequire } from 'node:module'
import { type AbortedTransaction, type DecodedRecords, decodeBatches, type UnreadableBatch, withoutAborted } from './record-batches.ts'

interface Decoder {
  readInt32(): number
  canReadBytes(length: number): boolean
  readBytes(length: number): Buffer
}
interface Fetched {
  readonly responses: readonly { readonly partitions: readonly FetchedPartition[] }[]
}
interface FetchedPartition {
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
const RESPONSE_VERSIONS = ['v4', 'v5', 'v6', 'v7', 'v8', 'v9', 'v10', 'v11']

/**
 * Fetches of kafkajs 2.2.4, decoded by record-batches.ts. kafkajs hands over no batch without records (aborted transactions, control records, an unreadable
 * batch), so that its user could not move the position over it. This patch hands them over. Must run before a client fetches.
 */
export const patchFetch = (): void => {
  const decodeMessages = async (decoder: Decoder): Promise<DecodedRecords> => {
    const size = decoder.readInt32()
    return size > 0 && decoder.canReadBytes(size) ? decodeBatches(decoder.readBytes(size)) : []
  }
  const path = require.resolve('kafkajs/src/protocol/requests/fetch/v4/decodeMessages')
  require(path)
  // The modules of the responses take it from here; kafkajs loads them with the first fetch.
  const loaded = require.cache[path]
  if (loaded === undefined) throw new Error('kafkajs has no module that decodes fetches')
  loaded.exports = decodeMessages

  for (const version of RESPONSE_VERSIONS) {
    const response = require(`kafkajs/src/protocol/requests/fetch/${version}/response`) as { decode(data: Buffer): Promise<Fetched> }
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
    const next = nextOffset === undefined || BigInt(nextOffset) < BigInt(this.fetchedOffset) ? this.fetchedOffset : nextOffset
    return String(BigInt(next) - 1n)
  }
}

/** The batch that cannot be decoded at the offset of this fetch. If records precede it, these are handed over and the next fetch begins at it. */
export const unreadableOf = (batch: unknown): UnreadableBatch | undefined => {
  const { nextOffset, unreadable } = (batch as Batch).rawMessages
  return nextOffset === undefined ? unreadable : undefined
}
