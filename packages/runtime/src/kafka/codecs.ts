import { promisify } from 'node:util'
import { gunzip, zstdDecompress } from 'node:zlib'
import kafkajs from 'kafkajs'
import { decompressBlock } from 'lz4js'
import { uncompress } from 'snappyjs'

/**
 * Maximum decompressed bytes of one batch. A larger batch could exhaust the memory of the process,
 * so it counts as unreadable.
 */
const MAX_BATCH_BYTES = 256 * 1024 * 1024

/**
 * First bytes of a stream from Java's snappy library. Two version numbers of 4 bytes each follow.
 */
const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])
const XERIAL_HEADER_BYTES = XERIAL_MAGIC.length + 8

/**
 * Decompresses both forms of snappy in Kafka: the framed stream of Java's client and the single
 * block of other clients.
 */
const fromSnappy = (bytes: Buffer): Buffer => {
  const beginsStream = (at: number) => bytes.subarray(at, at + XERIAL_MAGIC.length).equals(XERIAL_MAGIC)
  if (!beginsStream(0)) return uncompress(bytes, MAX_BATCH_BYTES)
  const blocks: Buffer[] = []
  let left = MAX_BATCH_BYTES
  for (let at = 0; at < bytes.length; ) {
    if (beginsStream(at)) at += XERIAL_HEADER_BYTES
    else {
      const start = at + 4
      at = start + bytes.readInt32BE(at)
      if (at <= start || at > bytes.length) throw new RangeError('a block of snappy ends beyond its stream')
      const block = uncompress(bytes.subarray(start, at), left)
      left -= block.length
      blocks.push(block)
    }
  }
  return Buffer.concat(blocks)
}

const LZ4_MAGIC = 0x184d2204
const LZ4_BLOCK_BYTES = [64, 256, 1024, 4096].map((kib) => kib * 1024)
const LZ4_STORED = 0x80000000

/**
 * Decompresses an LZ4 frame. The frame reader of lz4js is not used. It looks for the checksum of a
 * block before the block, but LZ4 has this checksum after the block.
 */
const fromLz4 = (bytes: Buffer): Buffer => {
  if (bytes.readUInt32LE(0) !== LZ4_MAGIC) throw new RangeError('the bytes are not an LZ4 frame')
  const flags = bytes.readUInt8(4)
  const blockBytes = LZ4_BLOCK_BYTES[(bytes.readUInt8(5) >> 4) - 4]
  const checksumBytes = (flags & 0x10) !== 0 ? 4 : 0
  const contentSizeBytes = (flags & 0x08) !== 0 ? 8 : 0
  if (flags >> 6 !== 1 || blockBytes === undefined) throw new RangeError('unknown version of LZ4')
  const blocks: { at: number; size: number; stored: boolean }[] = []
  let bound = 0
  for (let at = 7 + contentSizeBytes; ; ) {
    const head = bytes.readUInt32LE(at)
    if (head === 0) break
    const size = head & ~LZ4_STORED
    const stored = head >= LZ4_STORED
    at += 4
    blocks.push({ at, size, stored })
    at += size + checksumBytes
    bound += stored ? size : blockBytes
    if (at > bytes.length || bound > MAX_BATCH_BYTES) throw new RangeError('the LZ4 blocks exceed the batch')
  }
  // All blocks share one buffer, because a block may refer to bytes of earlier blocks.
  const decompressed = Buffer.alloc(bound)
  let end = 0
  for (const { at, size, stored } of blocks) {
    if (stored) end += bytes.copy(decompressed, end, at, at + size)
    else end = decompressBlock(bytes, decompressed, at, size, end)
    // lz4js reports no error if it writes past the end of the buffer.
    if (!(end <= bound)) throw new RangeError('a block of LZ4 is damaged')
  }
  return decompressed.subarray(0, end)
}

const bounded = { maxOutputLength: MAX_BATCH_BYTES }
const fromZstd = promisify(zstdDecompress)
const fromGzip = promisify(gunzip)

/** Decompressors of a batch's records, by codec number in Kafka's batch attributes. */
export const decompressors = new Map<number, (bytes: Buffer) => Buffer | Promise<Buffer>>([
  [kafkajs.CompressionTypes.GZIP, (bytes) => fromGzip(bytes, bounded)],
  [kafkajs.CompressionTypes.Snappy, fromSnappy],
  [kafkajs.CompressionTypes.LZ4, fromLz4],
  [kafkajs.CompressionTypes.ZSTD, (bytes) => fromZstd(bytes, bounded)],
])
