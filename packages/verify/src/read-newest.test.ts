import type { FetchedRecord, PartitionReader } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import { readNewest } from './read-newest.ts'

const record = (offset: number) => ({ offset: String(offset), timestamp: '0', key: null, value: null }) as FetchedRecord

/**
 * Simulates a partition. A fetch reads ten offsets, and returns the records that compaction has not
 * removed.
 */
const readerOf = (removed: (offset: number) => boolean = () => false) => {
  const fetched: string[] = []
  const reader: PartitionReader = {
    fetch: async (_, offset, until) => {
      const next = Math.min(Number(until), Number(offset) + 10)
      fetched.push(`${offset}-${next}`)
      const offsets = Array.from({ length: next - Number(offset) }, (__, i) => Number(offset) + i)
      return { records: offsets.filter((each) => !removed(each)).map(record), nextOffset: String(next) }
    },
  }
  return { reader, fetched }
}
const place = { topic: 't', partition: 0 }
const read = async (
  low: number,
  high: number,
  limit: number,
  { reader } = readerOf(),
  signal = new AbortController().signal,
) => {
  const offsets: number[] = []
  const range = { ...place, low: String(low), high: String(high) }
  const { isCut } = await readNewest(reader, range, ({ offset }) => offsets.push(Number(offset)), { limit, signal })
  return { offsets, isCut }
}

it('readNewest reads the newest block first, each record once, up to the limit', async () => {
  const { offsets, isCut } = await read(0, 100, 40)
  expect(offsets.slice(0, 16)).toEqual(Array.from({ length: 16 }, (_, i) => 84 + i))
  expect(offsets.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => 60 + i))
  expect(isCut).toBe(true)
})

it('readNewest reads a partition to its start, even if compaction has removed records', async () => {
  const { offsets, isCut } = await read(
    5,
    60,
    1000,
    readerOf((offset) => offset % 3 === 0),
  )
  expect(offsets).toHaveLength(37)
  expect(isCut).toBe(false)
  expect(await read(7, 7, 10)).toEqual({ offsets: [], isCut: false })
})

it('readNewest returns the records that it has read before an abort', async () => {
  const stop = new AbortController()
  const { reader } = readerOf()
  const stopping: PartitionReader = {
    fetch: async (partition, offset, until) => {
      const part = await reader.fetch(partition, offset, until)
      if (Number(offset) < 80) stop.abort()
      return part
    },
  }
  const { offsets, isCut } = await read(0, 100, 100, { reader: stopping, fetched: [] }, stop.signal)
  expect(offsets.length).toBeGreaterThanOrEqual(16)
  expect([isCut, offsets.length < 100]).toEqual([true, true])
})

it('readNewest fails with the error of Kafka', async () => {
  const denied = Object.assign(new Error('denied'), { type: 'TOPIC_AUTHORIZATION_FAILED' })
  const reader: PartitionReader = { fetch: () => Promise.reject(denied) }
  await expect(read(0, 1, 10, { reader, fetched: [] })).rejects.toBe(denied)
})
