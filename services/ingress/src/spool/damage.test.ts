import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { crc32 } from 'node:zlib'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { fileHandles, named, names, newDirectory, segmentsIn, withoutSyncs } from './fixtures/spool-folder.ts'
import { encodeFrame, HEADER_BYTES, newMarker, sealFrame } from './format.ts'
import { newSegment, readSegment } from './segment.ts'
import { openSpool, type SpoolDamage, type SpoolOptions } from './spool.ts'

const numbered = (count: number) => Array.from({ length: count }, (_, i) => `r${i}`)

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void
/** Returns the bytes of all buffers that are still referenced. */
const liveBuffers = () => {
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}

interface Written {
  readonly path: string
  /** Start and end of each record's frame. */
  readonly frames: readonly { readonly at: number; readonly end: number }[]
}

/** Writes one file of records and closes it. Syncs after each group of records. */
const leave = async (directory: string, groups: readonly (readonly OutgoingRecord[])[]): Promise<Written> => {
  const spool = await openSpool({ directory, maxBytes: 1e9, segmentBytes: 1e9 })
  const frames: { at: number; end: number }[] = []
  for (const group of groups) {
    await Promise.all(group.map((record) => spool.append(record)))
    for (const record of group) {
      const at = frames.at(-1)?.end ?? HEADER_BYTES
      frames.push({ at, end: at + encodeFrame(record).length })
    }
  }
  await spool.close()
  const path = join(directory, segmentsIn(directory)[0]!)
  expect(statSync(path).size).toBe(frames.at(-1)!.end)
  return { path, frames }
}

const drainAll = async (directory: string, options: Partial<SpoolOptions> = {}) => {
  const damages: SpoolDamage[] = []
  const spool = await openSpool({ directory, maxBytes: 1e9, onDamage: (damage) => damages.push(damage), ...options })
  onTestFinished(() => spool.close())
  const records: OutgoingRecord[] = []
  const send = async (batch: readonly OutgoingRecord[]) => {
    records.push(...batch)
    return []
  }
  const end = await spool.drain({ partitionOf: () => 'p', send })
  const { size } = spool
  await spool.close()
  return { records, damages, end, size }
}

it('no record is lost if two spool files have the same number', async () => {
  const [here, there] = [newDirectory(), newDirectory()]
  await leave(here, [numbered(3).map((name) => named(name))])
  const elsewhere = await leave(there, [['a', 'b', 'c', 'd', 'e'].map((name) => named(name))])
  copyFileSync(elsewhere.path, join(here, basename(elsewhere.path)))
  expect(new Set(segmentsIn(here).map((name) => name.slice(0, 16))).size).toBe(1)
  const { records } = await drainAll(here)
  expect(names(records).sort()).toEqual(['a', 'b', 'c', 'd', 'e', 'r0', 'r1', 'r2'])
})
const kinds = (damages: readonly SpoolDamage[]) => damages.map(({ what }) => what)
const lost = (damages: readonly SpoolDamage[]) => damages.reduce((sum, { records = 0 }) => sum + records, 0)

const edit = (path: string, change: (bytes: Buffer) => void) => {
  const bytes = readFileSync(path)
  change(bytes)
  writeFileSync(path, bytes)
}

/** Makes the first `failures` reads of these bytes fail. */
const unreadableBytes = async (from: number, end: number, failures = Number.POSITIVE_INFINITY) => {
  let left = failures
  const prototype = await fileHandles()
  const read = prototype.read as (this: FileHandle, ...args: unknown[]) => Promise<unknown>
  vi.spyOn(prototype, 'read').mockImplementation(async function (this: FileHandle, ...args: unknown[]) {
    const [, , length, position] = args as [Buffer, number, number, number]
    if (position < end && position + length > from && left-- > 0)
      throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
    return read.call(this, ...args)
  } as typeof prototype.read)
}

describe('random damage', () => {
  type Damage = { readonly kind: 'flip' | 'zero' | 'cut'; readonly where: number; readonly bytes: number }
  const anyDamage: fc.Arbitrary<Damage> = fc.record({
    kind: fc.constantFrom('flip', 'zero', 'cut'),
    where: fc.nat(),
    bytes: fc.constantFrom(1, 512, 4096, 100_000),
  })
  const anyGroups = fc.array(fc.array(fc.nat(600), { minLength: 1, maxLength: 15 }), { minLength: 1, maxLength: 8 })

  it('a damaged file yields exactly the undamaged records, and is kept if a record is missing', {
    timeout: 120_000,
  }, async () => {
    await withoutSyncs()
    await fc.assert(
      fc.asyncProperty(anyGroups, fc.array(anyDamage, { minLength: 1, maxLength: 3 }), async (sizes, damages) => {
        const directory = newDirectory()
        let count = 0
        const groups = sizes.map((group) => group.map((bytes) => named(`r${count++}`, bytes)))
        const { path, frames } = await leave(directory, groups)
        const before = readFileSync(path)
        let after: Buffer = Buffer.from(before)
        for (const { kind, where, bytes } of damages) {
          const at = where % (after.length + 1)
          if (kind === 'cut') after = after.subarray(0, at)
          else if (kind === 'zero')
            after.fill(0, Math.floor(at / bytes) * bytes, Math.min(after.length, (Math.floor(at / bytes) + 1) * bytes))
          else if (at < after.length) after[at]! ^= 1 << (bytes & 7)
        }
        writeFileSync(path, after)
        const isWhole = ({ at, end }: { at: number; end: number }) =>
          end <= after.length && before.compare(after, at, end, at, end) === 0
        const whole = groups.flat().filter((_, i) => isWhole(frames[i]!))
        const { records, damages: reported } = await drainAll(directory)
        expect(records).toEqual(whole)
        if (whole.length < count) {
          expect(segmentsIn(directory)).toEqual([`${basename(path)}.damaged`])
          expect(kinds(reported)).toContain('damage')
          expect(readFileSync(`${path}.damaged`)).toEqual(after)
        }
      }),
      { numRuns: 200 },
    )
  })

  it('the lost records between two intact records are counted', async () => {
    const directory = newDirectory()
    const { path, frames } = await leave(directory, [numbered(3000).map((name) => named(name))])
    edit(path, (bytes) => bytes.fill(0, frames[100]!.at + 5, frames[110]!.end - 5))
    const { damages, records } = await drainAll(directory)
    expect(damages).toEqual([
      { file: path, offset: frames[100]!.at, bytes: frames[111]!.at - frames[100]!.at, what: 'damage', records: 11 },
    ])
    expect(records).toHaveLength(2989)
  })
})

describe('damaged files', () => {
  it.each([512, 4096])(
    'a file whose first %i bytes are zeros loses only the records in these bytes',
    async (zeroed) => {
      const directory = newDirectory()
      const { path, frames } = await leave(directory, [numbered(3000).map((name) => named(name))])
      edit(path, (bytes) => bytes.fill(0, 0, zeroed))
      const { records, damages } = await drainAll(directory)
      const hit = frames.filter(({ at }) => at < zeroed).length
      expect([records.length, lost(damages)]).toEqual([3000 - hit, hit])
      expect(segmentsIn(directory)).toEqual([`${basename(path)}.damaged`])
    },
  )

  it.each([
    [
      'a flipped bit in the last length',
      (bytes: Buffer, last: number) => bytes.writeUInt8(bytes[last + 10]! ^ 4, last + 10),
    ],
    ['zeros from a frame boundary to the end', (bytes: Buffer, last: number) => bytes.fill(0, last)],
  ])('a file with %s counts as damaged, because the record was acknowledged', async (_, change) => {
    const directory = newDirectory()
    const { path, frames } = await leave(directory, [[named('a')], [named('b')]])
    edit(path, (bytes) => void change(bytes, frames[1]!.at))
    const { records, damages } = await drainAll(directory)
    expect([names(records), kinds(damages), lost(damages)]).toEqual([['a'], ['damage'], 1])
    expect(segmentsIn(directory)).toEqual([`${basename(path)}.damaged`])
  })

  it('if a damaged length covers the next records, only the record with this length is lost', async () => {
    const directory = newDirectory()
    const { path, frames } = await leave(directory, [numbered(100).map((name) => named(name))])
    edit(path, (bytes) => bytes.writeUInt32LE(1000, frames[3]!.at + 8))
    const { records, damages } = await drainAll(directory)
    expect([names(records), lost(damages)]).toEqual([numbered(100).filter((name) => name !== 'r3'), 1])
  })

  it('a file in which 1,499 of 3,000 records became zeros is kept, and the loss is counted', async () => {
    const directory = newDirectory()
    const groups = [numbered(1501), numbered(1499)].map((group) => group.map((name) => named(name)))
    const { path, frames } = await leave(directory, groups)
    edit(path, (bytes) => bytes.fill(0, frames[1501]!.at))
    const { records, damages } = await drainAll(directory)
    expect([records.length, kinds(damages), lost(damages)]).toEqual([1501, ['damage'], 1499])
    expect(segmentsIn(directory)).toEqual([`${basename(path)}.damaged`])
  })

  it('the drain reports and keeps an emptied file', async () => {
    const directory = newDirectory()
    const { path } = await leave(directory, [[named('a')]])
    truncateSync(path)
    const { damages } = await drainAll(directory)
    expect(kinds(damages)).toEqual(['damage'])
    expect(segmentsIn(directory)).toEqual([`${basename(path)}.damaged`])
  })

  it('the spool still counts the bytes of a damaged file, even after a restart', async () => {
    const directory = newDirectory()
    const { path, frames } = await leave(directory, [numbered(3).map((name) => named(name))])
    edit(path, (bytes) => {
      bytes[frames[1]!.at + 30]! ^= 1
    })
    const { records, size } = await drainAll(directory)
    expect(names(records)).toEqual(['r0', 'r2'])
    expect(size).toEqual({ records: 0, bytes: frames[2]!.end, uncountedBytes: 0, oldestAt: undefined })
    expect((await drainAll(directory)).size.bytes).toBe(frames[2]!.end)
  })

  it('a damaged file is read again after a person removes `.damaged` from its name', async () => {
    const directory = newDirectory()
    const { path } = await leave(directory, [numbered(3).map((name) => named(name))])
    const whole = readFileSync(path)
    truncateSync(path, whole.length - 1)
    await drainAll(directory)
    rmSync(`${path}.damaged`)
    writeFileSync(path, whole)
    expect(names((await drainAll(directory)).records)).toEqual(numbered(3))
    expect(segmentsIn(directory)).toEqual([])
  })
})

it('a file does not count as damaged if Kafka accepts its records only at the second attempt', async () => {
  const directory = newDirectory()
  await leave(directory, [numbered(5).map((name) => named(name)), numbered(5).map((name) => named(name))])
  const damages: SpoolDamage[] = []
  const spool = await openSpool({ directory, maxBytes: 1e9, onDamage: (damage) => damages.push(damage) })
  onTestFinished(() => spool.close())
  let attempts = 0
  const delivery = {
    partitionOf: () => 'p',
    send: async (records: readonly OutgoingRecord[]) => (attempts++ === 0 ? records : []),
  }
  await vi.waitUntil(async () => (await spool.drain(delivery)) === 'empty', { timeout: 10_000 })
  expect([damages, segmentsIn(directory)]).toEqual([[], []])
})

it('a file is drained to its end even if a record becomes damaged during the drain', {
  timeout: 20_000,
}, async () => {
  const directory = newDirectory()
  // Write more records than the cursor of a failing partition can keep.
  const { path, frames } = await leave(directory, [numbered(1200).map((name) => named(name))])
  const damages: SpoolDamage[] = []
  const spool = await openSpool({ directory, maxBytes: 1e9, onDamage: (damage) => damages.push(damage) })
  onTestFinished(() => spool.close())
  const sent: string[] = []
  let isWell = false
  const delivery = {
    partitionOf: () => 'p',
    send: async (records: readonly OutgoingRecord[]) => {
      if (!isWell) return records
      sent.push(...names(records))
      return []
    },
  }
  expect(await spool.drain(delivery)).toBe('incomplete')
  edit(path, (bytes) => bytes.fill(0, frames[1100]!.at + 5, frames[1100]!.end - 5))
  isWell = true
  await vi.waitUntil(async () => (await spool.drain(delivery)) === 'empty', { timeout: 10_000 })
  expect([sent.length, sent.includes('r1100'), kinds(damages)]).toEqual([1199, false, ['damage']])
  expect([spool.size.records, segmentsIn(directory)]).toEqual([0, [`${basename(path)}.damaged`]])
})

it('a deleted file counts as damage only if one of its records was not delivered', async () => {
  const { path, frames } = await leave(newDirectory(), [[named('a'), named('b')]])
  const end = frames.at(-1)!.end
  const segment = newSegment(path, 1, end, false)
  Object.assign(segment, { confirmedEnd: end, scannedEnd: end, found: 2, written: 2 })
  rmSync(path)
  const damages: SpoolDamage[] = []
  const read = () =>
    readSegment(
      segment,
      0,
      end,
      (damage) => damages.push(damage),
      async () => undefined,
    ).next()
  // The drain deletes a file when all its records are delivered. At this moment another cursor may
  // be opening the file.
  for (const id of [0, 1]) segment.delivered.add(id)
  await read()
  expect(damages).toEqual([])
  segment.found = 3
  await read()
  expect(damages).toMatchObject([{ what: 'unreadable', records: 2 }])
})

describe('torn tails', () => {
  /** Bytes that a crash during an append may leave after the last sync. */
  it.each([
    ['zeros', () => Buffer.alloc(3_000_000)],
    ['a head without its body', (next: Buffer) => next.subarray(0, 30)],
    ['part of a head', (next: Buffer) => next.subarray(0, 7)],
    [
      'a body without its last block',
      (next: Buffer) => Buffer.concat([next.subarray(0, 50), Buffer.alloc(next.length - 50)]),
    ],
  ])('a torn tail of %s is not damage, because its records were not acknowledged', async (_, tail) => {
    const directory = newDirectory()
    const { path, frames } = await leave(directory, [[named('a')]])
    const marker = Buffer.from(/-([0-9a-f]{8})\./.exec(path)![1]!, 'hex')
    writeFileSync(path, tail(sealFrame(encodeFrame(named('b', 200)), marker, 1)), { flag: 'a' })
    const { records, damages } = await drainAll(directory)
    expect([names(records), kinds(damages), damages[0]?.offset]).toEqual([['a'], ['torn-tail'], frames[0]!.end])
    expect(segmentsIn(directory)).toEqual([])
  })

  it('a file is kept as damaged if its last bytes are not an incomplete append', async () => {
    const directory = newDirectory()
    const { path } = await leave(directory, [[named('a')]])
    writeFileSync(path, 'what is this?', { flag: 'a' })
    expect(kinds((await drainAll(directory)).damages)).toEqual(['damage'])
    expect(segmentsIn(directory)).toEqual([`${basename(path)}.damaged`])
  })

  it('a file without acknowledged records, whose name ends in .new, is deleted', async () => {
    const directory = newDirectory()
    writeFileSync(join(directory, '0000000000000001-01020304.segment.new'), Buffer.alloc(100))
    expect(await drainAll(directory)).toMatchObject({ records: [], damages: [], size: { bytes: 0 } })
    expect(segmentsIn(directory)).toEqual([])
  })
})

describe('unreadable blocks', () => {
  const big = () => numbered(3000).map((name) => named(name, 100))

  it('a file with unreadable blocks loses only the records in these blocks, and is kept', {
    timeout: 20_000,
  }, async () => {
    const directory = newDirectory()
    const { path, frames } = await leave(directory, [big()])
    await unreadableBytes(40_960, 45_056)
    const { records, damages } = await drainAll(directory)
    const hit = frames.filter(({ at, end }) => at < 45_056 && end > 40_960).length
    expect([records.length, kinds(damages), lost(damages)]).toEqual([3000 - hit, ['unreadable'], hit])
    expect(damages[0]).toMatchObject({ file: path, offset: frames.find(({ end }) => end > 40_960)!.at })
    expect(segmentsIn(directory)).toEqual([`${basename(path)}.damaged`])
  })

  it('a file is read completely if the read error is transient', async () => {
    const directory = newDirectory()
    await leave(directory, [big()])
    await unreadableBytes(40_960, 45_056, 3)
    const { records, damages } = await drainAll(directory)
    expect([records.length, damages]).toEqual([3000, []])
    expect(segmentsIn(directory)).toEqual([])
  })

  it('an unreadable file stays, delays no other file, and is retried', {
    timeout: 20_000,
  }, async () => {
    const directory = newDirectory()
    const { path } = await leave(directory, [big()])
    const spool = await openSpool({ directory, maxBytes: 1e9, segmentBytes: 1e9 })
    onTestFinished(() => spool.close())
    await spool.append(named('new'))
    const sent: string[] = []
    const delivery = {
      partitionOf: () => 'p',
      send: async (records: readonly OutgoingRecord[]) => {
        sent.push(...names(records))
        return []
      },
    }
    const prototype = await fileHandles()
    const read = prototype.read as (this: FileHandle, ...args: unknown[]) => Promise<unknown>
    const size = statSync(path).size
    const spy = vi.spyOn(prototype, 'read').mockImplementation(async function (this: FileHandle, ...args: unknown[]) {
      if ((await this.stat()).size === size) throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
      return read.call(this, ...args)
    } as typeof prototype.read)
    expect(await spool.drain(delivery)).toBe('incomplete')
    expect([sent, segmentsIn(directory).includes(basename(path))]).toEqual([['new'], true])
    spy.mockRestore()
    await vi.waitUntil(async () => (await spool.drain(delivery)) === 'empty', { timeout: 10_000 })
    expect(sent).toHaveLength(3001)
    expect(segmentsIn(directory)).toEqual([])
  })

  it('an unreadable file that becomes readable is sent while another partition fails', {
    timeout: 20_000,
  }, async () => {
    const directory = newDirectory()
    const spool = await openSpool({ directory, maxBytes: 1e9, segmentBytes: 1e9 })
    onTestFinished(() => spool.close())
    const partitions = ['failing', 'well']
    const topics = Array.from({ length: 600 }, (_, i) => partitions[i % 2]!)
    await Promise.all(topics.map((topic) => spool.append({ ...named('r'), topic })))
    await spool.close()
    const again = await openSpool({ directory, maxBytes: 1e9 })
    onTestFinished(() => again.close())
    await Promise.all(partitions.map((topic) => again.append({ ...named('last'), topic })))
    const sent: string[] = []
    let accepts = (_: OutgoingRecord) => false
    const delivery = {
      partitionOf: ({ topic }: OutgoingRecord) => topic,
      send: async (records: readonly OutgoingRecord[]) => {
        sent.push(...names(records.filter(accepts)))
        return records.filter((record) => !accepts(record))
      },
    }
    expect(await again.drain(delivery)).toBe('incomplete')
    const last = segmentsIn(directory).sort().at(-1)!
    const { size } = statSync(join(directory, last))
    const prototype = await fileHandles()
    const read = prototype.read as (this: FileHandle, ...args: unknown[]) => Promise<unknown>
    const spy = vi.spyOn(prototype, 'read').mockImplementation(async function (this: FileHandle, ...args: unknown[]) {
      if ((await this.stat()).size === size) throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
      return read.call(this, ...args)
    } as typeof prototype.read)
    accepts = ({ topic }) => topic === 'well'
    await vi.waitUntil(async () => (await again.drain(delivery)) === 'incomplete' && sent.length >= 300, {
      timeout: 10_000,
    })
    expect(sent).not.toContain('last')
    spy.mockRestore()
    await vi.waitUntil(async () => (await again.drain(delivery)) === 'incomplete' && sent.length > 300, {
      timeout: 5000,
    })
    expect([sent.length, sent.at(-1), again.size.records]).toEqual([301, 'last', 301])
  })

  it('a deleted file delays no other file', async () => {
    const directory = newDirectory()
    const damages: SpoolDamage[] = []
    const spool = await openSpool({
      directory,
      maxBytes: 1e9,
      segmentBytes: 1,
      onDamage: (damage) => damages.push(damage),
    })
    onTestFinished(() => spool.close())
    for (const name of numbered(3)) await spool.append(named(name))
    rmSync(join(directory, segmentsIn(directory)[1]!))
    const sent: string[] = []
    await spool.drain({
      partitionOf: () => 'p',
      send: async (records) => {
        sent.push(...names(records))
        return []
      },
    })
    expect(sent).toEqual(['r0', 'r2'])
    expect(damages).toMatchObject([{ what: 'unreadable', records: 1 }])
    expect(spool.size).toEqual({ records: 0, bytes: 0, uncountedBytes: 0, oldestAt: undefined })
  })
})

describe('other formats', () => {
  const version1 = new URL('fixtures/version-1.segment', import.meta.url)
  const leaveVersion1 = (change: (bytes: Buffer) => void = () => {}) => {
    const directory = newDirectory()
    const path = join(directory, '0000000000000001.segment')
    copyFileSync(version1, path)
    edit(path, change)
    return directory
  }
  /** Records that the previous version has written. */
  const expected = Array.from({ length: 60 }, (_, i) => ({
    topic: i % 3 ? 'mykaarma.customers.raw' : 'mykaarma.other.raw',
    key: i % 7 ? Buffer.from(`customer-${i}`) : null,
    value: i % 11 ? Buffer.from(`{"number":${i},"name":"José ${'x'.repeat(i)}"}`) : null,
    ...(i % 2 && { headers: { signature: `sha256=${i}` } }),
    timestamp: 1700000000000 + i,
  }))

  it('a file of the previous version is read and sent', async () => {
    const directory = leaveVersion1()
    expect(await drainAll(directory)).toMatchObject({ records: expected, damages: [], end: 'empty' })
    expect(segmentsIn(directory)).toEqual([])
  })

  it.each([512, 4096])(
    'a file of the previous version with zeros in its first %i bytes loses only the records in them',
    async (zeroed) => {
      const directory = leaveVersion1((bytes) => bytes.fill(0, 0, zeroed))
      const { records, damages } = await drainAll(directory)
      expect(records.length).toBeGreaterThan(30)
      expect(records).toEqual(expected.slice(-records.length))
      expect(kinds(damages)).toContain('damage')
      expect(segmentsIn(directory)).toEqual(['0000000000000001.segment.damaged'])
    },
  )

  it('a file of the previous version is kept if its end is cut off', async () => {
    const directory = leaveVersion1()
    truncateSync(join(directory, '0000000000000001.segment'), 10_000)
    const { records } = await drainAll(directory)
    expect(records).toEqual(expected.slice(0, records.length))
    expect(segmentsIn(directory)).toEqual(['0000000000000001.segment.damaged'])
  })

  it.each([12, 20])('a file of a newer version is reported and left unchanged (checksum at %i)', async (crcAt) => {
    const directory = newDirectory()
    const { path } = await leave(directory, [[named('a')]])
    edit(path, (bytes) => {
      bytes.writeUInt32LE(3, 4)
      bytes.writeUInt32LE(crc32(bytes.subarray(0, crcAt)), crcAt)
    })
    const before = readFileSync(path)
    expect(kinds((await drainAll(directory)).damages)).toEqual(['foreign'])
    expect(readFileSync(path)).toEqual(before)
  })

  it('a folder with the name of a spool file is reported and skipped', async () => {
    const directory = newDirectory()
    mkdirSync(join(directory, '0000000000000001.segment'))
    const { damages, end } = await drainAll(directory)
    expect([damages[0], end]).toMatchObject([
      { file: join(directory, '0000000000000001.segment'), what: 'foreign' },
      'empty',
    ])
  })

  it('a frame that a sender has hidden in the body of a record is never read as a record', async () => {
    const directory = newDirectory()
    const forged = Array.from({ length: 5 }, (_, i) => sealFrame(encodeFrame(named('forged')), newMarker(), i))
    const { path, frames } = await leave(directory, [[{ ...named('a'), value: Buffer.concat(forged) }, named('b')]])
    edit(path, (bytes) => {
      // Change one byte of the first record's length.
      bytes[frames[0]!.at + 8]! ^= 1
    })
    expect(names((await drainAll(directory)).records)).toEqual(['b'])
  })
})

describe('opening', () => {
  it('the spool opens without reading the contents of its files', async () => {
    const directory = newDirectory()
    for (let i = 1; i <= 40; i++) {
      const path = join(directory, `${String(i).padStart(16, '0')}-01020304.segment`)
      writeFileSync(path, '')
      truncateSync(path, 100e6)
    }
    let bytesRead = 0
    const prototype = await fileHandles()
    const read = prototype.read as (this: FileHandle, ...args: unknown[]) => Promise<{ bytesRead: number }>
    vi.spyOn(prototype, 'read').mockImplementation(async function (this: FileHandle, ...args: unknown[]) {
      const result = await read.call(this, ...args)
      bytesRead += result.bytesRead
      return result
    } as unknown as typeof prototype.read)
    const spool = await openSpool({ directory, maxBytes: 1e10 })
    onTestFinished(() => spool.close())
    expect(bytesRead).toBeLessThan(100)
    expect(spool.size).toMatchObject({ records: 0, bytes: 4e9, uncountedBytes: 4e9 })
    expect(spool.size.oldestAt).toBeGreaterThan(0)
  })

  it('the record count and the oldest timestamp are read from the file header', async () => {
    const directory = newDirectory()
    await leave(directory, [numbered(100).map((name) => ({ ...named(name), timestamp: 77 }))])
    const spool = await openSpool({ directory, maxBytes: 1e9 })
    onTestFinished(() => spool.close())
    expect(spool.size).toMatchObject({ records: 100, uncountedBytes: 0, oldestAt: 77 })
  })

  it('the drain of a large file needs little memory', { timeout: 60_000 }, async () => {
    const directory = newDirectory()
    await leave(
      directory,
      numbered(20).map((name) => numbered(8).map((inner) => named(`${name}-${inner}`, 500_000))),
    )
    const spool = await openSpool({ directory, maxBytes: 1e9 })
    onTestFinished(() => spool.close())
    const before = liveBuffers()
    let most = 0
    await spool.drain({
      partitionOf: () => 'p',
      send: async () => {
        most = Math.max(most, liveBuffers() - before)
        return []
      },
    })
    expect(most).toBeLessThan(20e6)
  })
})
