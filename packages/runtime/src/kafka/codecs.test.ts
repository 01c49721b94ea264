import { compress as toLz4 } from 'lz4js'
import { compress as toSnappy } from 'snappyjs'
import { describe, expect, it } from 'vitest'
import { decompressors } from './codecs.ts'

// These tests cover formats that Java's client does not write. foreign-records.int.test.ts covers
// Java's formats.
const SNAPPY = 2
const LZ4 = 3
const plain = Buffer.from('one customer after the other, '.repeat(10_000))
const decompress = async (codec: number, bytes: Buffer) => (await decompressors.get(codec)?.(bytes)) ?? Buffer.alloc(0)

describe('snappy', () => {
  const block = (bytes: Buffer) => {
    const compressed = Buffer.from(toSnappy(bytes))
    const length = Buffer.alloc(4)
    length.writeInt32BE(compressed.length)
    return Buffer.concat([length, compressed])
  }
  const header = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1])

  it('the codec decompresses a snappy block without a stream header', async () => {
    expect((await decompress(SNAPPY, Buffer.from(toSnappy(plain)))).equals(plain)).toBe(true)
  })

  it('the codec decompresses several snappy streams, one after another', async () => {
    const stream = [
      header,
      block(plain.subarray(0, 50_000)),
      block(plain.subarray(50_000, 60_000)),
      header,
      block(plain.subarray(60_000)),
    ]
    expect((await decompress(SNAPPY, Buffer.concat(stream))).equals(plain)).toBe(true)
  })

  it.each([
    ['a block that ends beyond the stream', Buffer.concat([header, block(plain).subarray(0, -1)])],
    ['a negative length', Buffer.concat([header, Buffer.from([0xff, 0xff, 0xff, 0xff])])],
    ['a claimed size of 4 GB', Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0])],
  ])('the codec refuses snappy with %s', async (_, bytes) => {
    await expect(async () => decompress(SNAPPY, bytes)).rejects.toThrow()
  })
})

describe('LZ4', () => {
  const HEAD = [0x04, 0x22, 0x4d, 0x18]
  /**
   * Builds a frame of two blocks and `tail`. The second block repeats 8 bytes of the first block.
   */
  const frame = (flags: number, contentSize: number[], checksum: number[], tail: number[] = []) => {
    const stored = [8, 0, 0, 0x80, ...Buffer.from('customer'), ...checksum]
    // This block has a match of 8 bytes at distance 8, and one literal.
    const linked = [5, 0, 0, 0, 0x04, 8, 0, 0x10, 0x21, ...checksum]
    return Buffer.from([...HEAD, flags, 0x40, ...contentSize, 0, ...stored, ...linked, 0, 0, 0, 0, ...tail])
  }

  it('the codec decompresses LZ4 in blocks of 4 MiB', async () => {
    expect((await decompress(LZ4, Buffer.from(toLz4(plain)))).equals(plain)).toBe(true)
  })

  it.each([
    ['linked blocks', frame(0x40, [], [])],
    ['a checksum after each block', frame(0x50, [], [1, 2, 3, 4])],
    ['the size in the header and a checksum at the end', frame(0x4c, [17, 0, 0, 0, 0, 0, 0, 0], [], [1, 2, 3, 4])],
  ])('the codec decompresses LZ4 with %s', async (_, bytes) => {
    expect(String(await decompress(LZ4, bytes))).toBe('customercustomer!')
  })

  it.each([
    ['another magic number', Buffer.from([1, ...frame(0x40, [], []).subarray(1)])],
    ['a block that ends beyond the frame', frame(0x40, [], []).subarray(0, -8)],
    ['no end mark', frame(0x40, [], []).subarray(0, -4)],
    ['an unknown version', frame(0x80, [], [])],
  ])('the codec refuses LZ4 with %s', async (_, bytes) => {
    await expect(async () => decompress(LZ4, bytes)).rejects.toThrow()
  })
})
