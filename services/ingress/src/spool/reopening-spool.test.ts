import { mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { named, newDirectory } from './fixtures/spool-folder.ts'
import { createReopeningSpool, type ReopeningSpool } from './reopening-spool.ts'
import { openSpool, type SpoolDamage } from './spool.ts'

const setUp = (directory: string, damages: SpoolDamage[] = []) => {
  const spool = createReopeningSpool({ directory, maxBytes: 1e9, onDamage: (damage) => damages.push(damage) })
  onTestFinished(() => spool.close())
  return spool
}
const acceptInto = (sent: string[]) => ({
  partitionOf: () => 'p',
  send: async (records: readonly OutgoingRecord[]) => {
    sent.push(...records.map(({ key }) => String(key)))
    return []
  },
})
const acceptNothing = { partitionOf: () => 'p', send: async (records: readonly OutgoingRecord[]) => records }
const drained = async (spool: ReopeningSpool) => {
  const sent: string[] = []
  await vi.waitUntil(async () => (await spool.drain(acceptInto(sent))) === 'empty', { timeout: 10_000 })
  return sent
}

describe('a spool whose folder changes while it runs', () => {
  it('after the loss of its lock file, the spool refuses records, locks its folder again, and continues', async () => {
    const directory = newDirectory()
    const lock = join(directory, 'lock')
    const damages: SpoolDamage[] = []
    const spool = setUp(directory, damages)
    await spool.open()
    await spool.append(named('a'))
    rmSync(lock)
    await expect(spool.append(named('refused'))).rejects.toThrow(`${lock}: deleted or replaced`)
    await expect(spool.append(named('refused too'))).rejects.toThrow(lock)
    expect([spool.problem?.message, spool.hasRoomFor(1)]).toEqual([expect.stringContaining(lock), false])
    expect(await drained(spool)).toContain('a')
    await spool.append(named('b'))
    expect([spool.problem, spool.hasRoomFor(1), await drained(spool)]).toEqual([undefined, true, ['b']])
    // The refused record was cut off from the file. A cut is not damage.
    expect(damages).toEqual([])
  })

  it('the spool notices a lost lock even without an append, and waits until the lock is free', async () => {
    const directory = newDirectory()
    const spool = setUp(directory)
    await spool.open()
    rmSync(join(directory, 'lock'))
    const other = await openSpool({ directory, maxBytes: 1e9 })
    await expect(spool.drain(acceptNothing)).rejects.toThrow('deleted or replaced')
    await expect(spool.drain(acceptNothing)).rejects.toThrow('in use by another process')
    expect(spool.hasRoomFor(1)).toBe(false)
    await other.close()
    expect(await spool.drain(acceptNothing)).toBe('empty')
    expect(spool.hasRoomFor(1)).toBe(true)
  })

  it('a record in a deleted file is not acknowledged', async () => {
    const directory = newDirectory()
    const spool = setUp(directory)
    await spool.open()
    await spool.append(named('a'))
    const [file] = readdirSync(directory).filter((name) => name.includes('.segment'))
    rmSync(join(directory, file!))
    await expect(spool.append(named('refused'))).rejects.toThrow(`${join(directory, file!)}: the file was deleted`)
    await spool.append(named('b'))
    expect(await drained(spool)).toEqual(['b'])
  })

  it('the spool acknowledges nothing in a moved folder, and continues in the new folder', async () => {
    const directory = join(newDirectory(), 'spool')
    const spool = setUp(directory)
    await spool.open()
    await spool.append(named('a'))
    renameSync(directory, `${directory}-moved`)
    await expect(spool.append(named('refused'))).rejects.toThrow(directory)
    mkdirSync(directory)
    expect(await drained(spool)).toEqual([])
    await spool.append(named('b'))
    expect(await drained(spool)).toEqual(['b'])
    // The operator moves the old folder back.
    rmSync(directory, { recursive: true })
    renameSync(`${directory}-moved`, directory)
    await expect(spool.append(named('refused'))).rejects.toThrow(directory)
    expect(await drained(spool)).toContain('a')
  })
})

describe('opening', () => {
  it('a lock file that is not a database is replaced', async () => {
    const directory = newDirectory()
    writeFileSync(join(directory, 'lock'), 'corrupt '.repeat(1000))
    const spool = setUp(directory)
    await spool.open()
    await spool.append(named('a'))
    await expect(openSpool({ directory, maxBytes: 1e9 })).rejects.toThrow('in use')
  })

  it('only one process can use the spool, even if the lock file becomes corrupt', async () => {
    const directory = newDirectory()
    const first = await openSpool({ directory, maxBytes: 1e9 })
    onTestFinished(() => first.close())
    writeFileSync(join(directory, 'lock'), 'corrupt '.repeat(1000))
    await expect(openSpool({ directory, maxBytes: 1e9 })).rejects.toThrow('in use')
  })

  it('a lock that cannot be taken is reported with its path, and is retried', async () => {
    const directory = newDirectory()
    const lock = join(directory, 'lock')
    mkdirSync(lock)
    const spool = setUp(directory)
    await expect(spool.open()).rejects.toThrow(lock)
    await expect(spool.append(named('refused'))).rejects.toThrow(lock)
    expect(spool.hasRoomFor(1)).toBe(false)
    rmdirSync(lock)
    expect(await spool.drain(acceptNothing)).toBe('empty')
    await spool.append(named('a'))
    expect(await drained(spool)).toEqual(['a'])
  })
})

it('the spool has no room while the disk fails, and notices the repair even without new records', async () => {
  const directory = newDirectory()
  const spool = setUp(directory)
  await spool.open()
  const handle = await open(tmpdir(), 'r')
  await handle.close()
  const prototype: FileHandle = Object.getPrototypeOf(handle)
  onTestFinished(() => void vi.restoreAllMocks())
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  const write = vi.spyOn(prototype, 'write').mockRejectedValue(full)
  await expect(spool.append(named('refused'))).rejects.toThrow(`${directory}`)
  await spool.drain(acceptNothing)
  expect(spool.hasRoomFor(1)).toBe(false)
  write.mockRestore()
  await spool.drain(acceptNothing)
  expect(spool.hasRoomFor(1)).toBe(true)
  expect(readdirSync(directory)).toEqual(['lock'])
})
