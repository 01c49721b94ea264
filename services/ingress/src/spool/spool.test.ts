import { spawn } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { anyText } from '@customer-stream/testing/any-text'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Destination } from './drain.ts'
import { fileHandles, named, names, newDirectory, segmentsIn, withoutSyncs } from './fixtures/spool-folder.ts'
import { openSpool, type Spool, type SpoolDamage, SpoolFullError, SpoolInUseError, type SpoolOptions } from './spool.ts'

const numbered = (count: number) => Array.from({ length: count }, (_, i) => `r${i}`)

const bytesOf = (maxLength: number) => fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes))
const anyRecord: fc.Arbitrary<OutgoingRecord> = fc.record(
  {
    topic: anyText(),
    key: fc.option(bytesOf(20)),
    value: fc.option(bytesOf(200)),
    headers: fc.dictionary(anyText(), anyText(), { maxKeys: 3 }),
    timestamp: fc.nat(),
  },
  { requiredKeys: ['topic', 'key', 'value', 'timestamp'] },
)

const bytesIn = (directory: string) =>
  segmentsIn(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0)

const openAt = async (directory: string, options: Partial<SpoolOptions> = {}) => {
  const damages: SpoolDamage[] = []
  const spool = await openSpool({ directory, maxBytes: 1e9, onDamage: (damage) => damages.push(damage), ...options })
  onTestFinished(() => spool.close())
  return { spool, damages }
}
/** Creates a destination. By default all records go to one partition. */
const by = (send: Destination['send'], partitionOf: Destination['partitionOf'] = () => 'p'): Destination => ({
  send,
  partitionOf,
})
const acceptAll = (handle: (...args: Parameters<Destination['send']>) => unknown): Destination =>
  by(async (...args) => {
    await handle(...args)
    return []
  })
const drained = async (spool: Spool) => {
  const all: OutgoingRecord[] = []
  let end: unknown
  // Drain again, because a failed partition is retried only after a while.
  while (end !== 'empty') end = await spool.drain(acceptAll((records) => all.push(...records)))
  return all
}
/** Writes records to a spool and closes it. Returns the file, and the end of each record. */
const leave = async (directory: string, records: readonly OutgoingRecord[], options: Partial<SpoolOptions> = {}) => {
  const { spool } = await openAt(directory, options)
  const ends: { file: string; end: number }[] = []
  for (const record of records) {
    await spool.append(record)
    const file = segmentsIn(directory).at(-1)!
    ends.push({ file, end: statSync(join(directory, file)).size })
  }
  await spool.close()
  return ends
}
const reopened = async (directory: string) => {
  const { spool, damages } = await openAt(directory)
  const records = await drained(spool)
  await spool.close()
  return { records, damages }
}
const diskError = (code: string) => Object.assign(new Error(code), { code })

describe('a spool', () => {
  it('the spool returns every record unchanged and in order of arrival, even after a restart', {
    timeout: 60_000,
  }, async () => {
    await withoutSyncs()
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyRecord, { maxLength: 20 }),
        fc.integer({ min: 1, max: 2000 }),
        async (records, segmentBytes) => {
          const directory = newDirectory()
          await leave(directory, records, { segmentBytes })
          expect(await reopened(directory)).toEqual({ records, damages: [] })
          expect(segmentsIn(directory)).toEqual([])
        },
      ),
      { numRuns: 50 },
    )
  })

  it('records that wait together for the disk keep their order', async () => {
    const { spool } = await openAt(newDirectory(), { segmentBytes: 1000 })
    const all = numbered(300)
    await Promise.all(all.map((name) => spool.append(named(name))))
    expect(names(await drained(spool))).toEqual(all)
  })

  it('the spool reports the number of records and the oldest timestamp', async () => {
    const { spool } = await openAt(newDirectory(), { segmentBytes: 100 })
    expect(spool.size).toEqual({ records: 0, bytes: 0, uncountedBytes: 0, oldestAt: undefined })
    for (const timestamp of [5, 6, 7]) await spool.append({ ...named('a'), timestamp })
    expect(spool.size).toMatchObject({ records: 3, oldestAt: 5 })
    await spool.drain(by(async (records) => records.slice(1)))
    expect(spool.size).toMatchObject({ records: 2, oldestAt: 6 })
    await drained(spool)
    expect(spool.size).toEqual({ records: 0, bytes: 0, uncountedBytes: 0, oldestAt: undefined })
  })

  it('records that wait together for the disk need only one fsync', async () => {
    const datasync = vi.spyOn(await fileHandles(), 'datasync')
    const { spool } = await openAt(newDirectory())
    await Promise.all(numbered(1000).map((name) => spool.append(named(name))))
    expect(datasync).toHaveBeenCalledTimes(1)
    datasync.mockClear()
    const caller = async () => {
      for (let i = 0; i < 20; i++) await spool.append(named('a'))
    }
    await Promise.all(Array.from({ length: 64 }, caller))
    expect(datasync.mock.calls.length).toBeLessThan(60)
  })

  it('a record is acknowledged only after an fsync of its file and, for a new file, of the directory', async () => {
    const events: string[] = []
    const prototype = await fileHandles()
    for (const method of ['datasync', 'sync'] as const) {
      const original = prototype[method]
      vi.spyOn(prototype, method).mockImplementation(async function (this: FileHandle) {
        await original.call(this)
        events.push(method)
      })
    }
    const { spool } = await openAt(newDirectory())
    for (let i = 0; i < 2; i++) await spool.append(named('a')).then(() => events.push('promised'))
    expect(events).toEqual(['datasync', 'sync', 'promised', 'datasync', 'promised'])
  })

  it('the spool creates its directory, and syncs each parent of a new directory', async () => {
    const sync = vi.spyOn(await fileHandles(), 'sync')
    const directory = join(newDirectory(), 'a', 'b')
    const { spool } = await openAt(directory)
    expect(sync).toHaveBeenCalledTimes(2)
    await spool.append(named('a'))
    expect(names(await drained(spool))).toEqual(['a'])
  })

  it('only one process can use a spool directory', async () => {
    const directory = newDirectory()
    const { spool } = await openAt(directory)
    await expect(openSpool({ directory, maxBytes: 1e6 })).rejects.toThrow(SpoolInUseError)
    await spool.append(named('a'))
    expect(readdirSync(directory)).toEqual([expect.stringMatching(/^0{15}1-[0-9a-f]{8}\.segment$/), 'lock'])
    await Promise.all([spool.close(), spool.close()])
    await expect(spool.append(named('b'))).rejects.toThrow('closed')
    expect(names((await reopened(directory)).records)).toEqual(['a'])
  })

  it('closing the spool writes all appended records to the disk', async () => {
    const directory = newDirectory()
    const { spool } = await openAt(directory)
    const appended = numbered(10).map((name) => spool.append(named(name)))
    await spool.close()
    await Promise.all(appended)
    expect(names((await reopened(directory)).records)).toEqual(numbered(10))
  })
})

describe('limits', () => {
  it('the files of the spool never exceed its limit, and a full spool rejects records immediately', {
    timeout: 60_000,
  }, async () => {
    await withoutSyncs()
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 5000 }),
        fc.integer({ min: 1, max: 2000 }),
        fc.array(fc.array(fc.nat(400), { minLength: 1, maxLength: 20 }), { maxLength: 8 }),
        async (maxBytes, segmentBytes, bursts) => {
          const directory = newDirectory()
          const { spool } = await openAt(directory, { maxBytes, segmentBytes })
          let promised = 0
          for (const burst of bursts) {
            const outcomes = await Promise.allSettled(burst.map((bytes) => spool.append(named('a', bytes))))
            for (const outcome of outcomes) {
              if (outcome.status === 'fulfilled') promised += 1
              else expect(outcome.reason).toBeInstanceOf(SpoolFullError)
            }
            expect(spool.size.bytes).toBe(bytesIn(directory))
            expect(spool.size.bytes).toBeLessThanOrEqual(maxBytes)
          }
          expect(await drained(spool)).toHaveLength(promised)
          expect(bytesIn(directory)).toBe(0)
          await spool.close()
        },
      ),
      { numRuns: 50 },
    )
  })

  it('the spool accepts records again after room was freed', async () => {
    const { spool } = await openAt(newDirectory(), { maxBytes: 2000 })
    await spool.append(named('a', 1500))
    await expect(spool.append(named('b', 1500))).rejects.toThrow(SpoolFullError)
    await drained(spool)
    await spool.append(named('c', 1500))
    expect(names(await drained(spool))).toEqual(['c'])
  })

  it('the spool reports that it is full if less than one record fits', async () => {
    const { spool } = await openAt(newDirectory(), { maxBytes: 2000 })
    expect(spool.hasRoomFor(1500)).toBe(true)
    await spool.append(named('a', 1500))
    expect([spool.size.bytes < 2000, spool.hasRoomFor(1500)]).toEqual([true, false])
    await drained(spool)
    expect(spool.hasRoomFor(1500)).toBe(true)
  })

  it('the bytes that wait in memory for the disk are limited', async () => {
    const { spool } = await openAt(newDirectory(), { maxWaitingBytes: 2000 })
    const first = spool.append(named('a', 1500))
    await expect(spool.append(named('b', 1500))).rejects.toThrow(SpoolFullError)
    await first
    await spool.append(named('c', 1500))
    expect(names(await drained(spool))).toEqual(['a', 'c'])
  })
})

describe('draining', () => {
  it('the next process sends the undelivered records of the spool', async () => {
    const directory = newDirectory()
    const { spool } = await openAt(directory, { segmentBytes: 100 })
    for (const name of numbered(5)) await spool.append(named(name))
    await spool.drain(by(async (records) => records.filter((record) => names([record])[0] === 'r3')))
    await spool.close()
    expect(names((await reopened(directory)).records)).toEqual(['r3'])
  })

  it('a partly delivered file is sent again after a restart', async () => {
    const directory = newDirectory()
    const { spool } = await openAt(directory)
    await Promise.all(numbered(700).map((name) => spool.append(named(name))))
    let sends = 0
    await spool.drain(by(async (records) => (++sends > 1 ? records : [])))
    expect(spool.size.records).toBe(200)
    await spool.close()
    expect(names((await reopened(directory)).records)).toEqual(numbered(700))
  })

  it('a batch of the drain is limited by records and by bytes', async () => {
    const { spool } = await openAt(newDirectory())
    await Promise.all([
      ...numbered(600).map((name) => spool.append(named(name))),
      ...numbered(5).map((n) => spool.append(named(n, 1.5e6))),
    ])
    const sizes: number[] = []
    await spool.drain(acceptAll((records) => sizes.push(records.length)))
    expect(sizes).toEqual([500, 102, 2, 1])
  })

  it('a drain sends the records that are appended during the drain', async () => {
    const { spool } = await openAt(newDirectory(), { segmentBytes: 500 })
    const all = numbered(200)
    await spool.append(named('r0'))
    const appended: Promise<void>[] = []
    const sent: string[] = []
    const end = await spool.drain(
      acceptAll((records) => {
        sent.push(...names(records))
        for (const name of all.slice(appended.length + 1, appended.length + 4)) appended.push(spool.append(named(name)))
      }),
    )
    await Promise.all(appended)
    expect([end, sent]).toEqual(['empty', all])
    await spool.append(named('afterwards'))
    expect(names(await drained(spool))).toEqual(['afterwards'])
  })

  it('a drain that starts during another drain joins that drain', async () => {
    const { spool } = await openAt(newDirectory())
    await spool.append(named('a'))
    const release = Promise.withResolvers<void>()
    const first = spool.drain(acceptAll(() => release.promise))
    const second = spool.drain(acceptAll(() => expect.unreachable()))
    release.resolve()
    expect(await Promise.all([first, second])).toEqual(['empty', 'empty'])
  })

  it('a drain stops after the current send if its signal aborts or the spool is closed', async () => {
    const directory = newDirectory()
    const { spool } = await openAt(directory, { segmentBytes: 100 })
    for (const name of ['a', 'b', 'c']) await spool.append(named(name, 3e6))
    const stop = new AbortController()
    const end = await spool.drain(
      acceptAll(() => stop.abort()),
      stop.signal,
    )
    expect([end, spool.size.records]).toEqual(['stopped', 2])
    let closed: Promise<void> | undefined
    const endByClose = await spool.drain(
      acceptAll(() => {
        closed = spool.close()
      }),
    )
    expect(endByClose).toBe('stopped')
    await closed
    expect(names((await reopened(directory)).records)).toEqual(['c'])
  })
})

describe('disk errors', () => {
  it.each([
    ['write', 'a new', 200],
    ['datasync', 'a new', 200],
    ['sync', 'a new', 200],
    ['datasync', 'an old', 1000],
  ] as const)(
    'if %s fails on %s file, no record is acknowledged, and the spool uses another file',
    async (method, _, segmentBytes) => {
      const prototype = await fileHandles()
      const directory = newDirectory()
      const { spool } = await openAt(directory, { segmentBytes })
      for (const name of ['a', 'b']) await spool.append(named(name))
      const failing = vi.spyOn(prototype, method).mockRejectedValue(diskError('EIO'))
      await expect(spool.append(named('lost', 100))).rejects.toThrow('EIO')
      failing.mockRestore()
      await spool.append(named('c'))
      expect(spool.size).toMatchObject({ records: 3, bytes: bytesIn(directory) })
      await spool.close()
      const { records, damages } = await reopened(directory)
      expect([names(records), damages]).toEqual([['a', 'b', 'c'], []])
    },
  )

  it('a partial write is cut off, and the spool continues even if the cut fails', async () => {
    const prototype = await fileHandles()
    for (const truncates of [true, false]) {
      const directory = newDirectory()
      const { spool } = await openAt(directory)
      await spool.append(named('a'))
      const write = prototype.write as (
        this: FileHandle,
        buffer: Buffer,
        offset: number,
        length: number,
        at: number,
      ) => Promise<unknown>
      vi.spyOn(prototype, 'write').mockImplementationOnce(async function (this: FileHandle, ...args: unknown[]) {
        const [buffer, offset, length, at] = args as [Buffer, number, number, number]
        await write.call(this, buffer, offset, length >> 1, at)
        throw diskError('ENOSPC')
      })
      if (!truncates) vi.spyOn(prototype, 'truncate').mockRejectedValueOnce(diskError('EIO'))
      await expect(spool.append(named('lost'))).rejects.toThrow('ENOSPC')
      await spool.append(named('b'))
      expect(spool.size.bytes).toBeGreaterThanOrEqual(bytesIn(directory))
      await spool.close()
      const { records, damages } = await reopened(directory)
      expect(names(records)).toEqual(['a', 'b'])
      expect(damages.map(({ what }) => what)).toEqual(truncates ? [] : ['torn-tail'])
    }
  })

  it('the spool leaves no files if every write fails', async () => {
    const directory = newDirectory()
    const { spool } = await openAt(directory)
    const write = vi.spyOn(await fileHandles(), 'write').mockRejectedValue(diskError('ENOSPC'))
    for (const name of numbered(5)) await expect(spool.append(named(name))).rejects.toThrow('ENOSPC')
    expect([segmentsIn(directory), spool.size.bytes]).toEqual([[], 0])
    write.mockRestore()
    await spool.append(named('a'))
    expect(names(await drained(spool))).toEqual(['a'])
  })
})

/** Program: appends records with eight callers, and prints each acknowledged id. */
const child = `
  import { writeSync } from 'node:fs'
  const [url, directory, prefix] = process.argv.slice(1)
  const { openSpool } = await import(url)
  const spool = await openSpool({ directory, maxBytes: 1e9, segmentBytes: 20_000 })
  let next = 0
  const caller = async () => {
    for (;;) {
      const id = prefix + next++
      await spool.append({ topic: 't', key: Buffer.from(id), value: Buffer.alloc(700), timestamp: 1 })
      writeSync(1, id + '\\n')
    }
  }
  for (let i = 0; i < 8; i++) caller()
`

it('a process killed at any moment loses no acknowledged record, and frees the directory', {
  timeout: 60_000,
}, async () => {
  const directory = newDirectory()
  const promised: string[] = []
  for (let run = 0; run < 10; run++) {
    const script = new URL('spool.ts', import.meta.url).href
    const args = ['--input-type=module', '--eval', child, script, directory, `${run}-`]
    const writer = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let left = Math.floor(Math.random() * 300)
    for await (const id of createInterface(writer.stdout)) {
      promised.push(id)
      if (left-- === 0) writer.kill('SIGKILL')
    }
    expect(left).toBeLessThan(0)
  }
  const { records, damages } = await reopened(directory)
  const found = new Set(names(records))
  expect(promised.filter((id) => !found.has(id))).toEqual([])
  expect(records).toHaveLength(found.size)
  expect(damages.filter(({ what }) => what !== 'torn-tail')).toEqual([])
})
