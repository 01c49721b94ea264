import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { expect, it, onTestFinished, vi } from 'vitest'
import type { Destination } from './drain.ts'
import { openSpool } from './spool.ts'

/**
 * Replaces a function of the file system until the end of the test. Modules that are already loaded
 * also call the replacement. `vi.mock` would not change these modules.
 */
const replace = (name: 'unlink' | 'open', call: (path: string) => unknown) => {
  const original = fs[name] as (...args: unknown[]) => Promise<never>
  const spy = vi.spyOn(fs, name).mockImplementation(async (...args: readonly unknown[]) => {
    await call(String(args[0]))
    return original(...args)
  })
  syncBuiltinESMExports()
  onTestFinished(() => {
    spy.mockRestore()
    syncBuiltinESMExports()
  })
}

const record = (name: string, partition: string, bytes = 10): OutgoingRecord => ({
  topic: partition,
  key: Buffer.from(name),
  value: Buffer.alloc(bytes),
  timestamp: 1,
})
const setUp = async (segmentBytes: number) => {
  const directory = mkdtempSync(join(tmpdir(), 'spool-'))
  const spool = await openSpool({ directory, maxBytes: 1e9, segmentBytes })
  onTestFinished(async () => {
    await spool.close()
    rmSync(directory, { recursive: true, force: true })
  })
  const sent: string[] = []
  const delivery = (accepts: (partition: string) => boolean | Promise<boolean>): Destination => ({
    partitionOf: ({ topic }) => topic,
    send: async (records) => {
      const accepted = await Promise.all(records.map(({ topic }) => accepts(topic)))
      sent.push(...records.filter((_, i) => accepted[i]).map(({ key }) => String(key)))
      return records.filter((_, i) => !accepted[i])
    },
  })
  const files = () => readdirSync(directory).filter((name) => name.includes('.segment'))
  return { spool, sent, delivery, files }
}

it('a record appended during the deletion of drained files is kept', async () => {
  const { spool, sent, delivery, files } = await setUp(1500)
  await spool.append(record('a', 'p', 1000))
  await spool.append(record('b', 'p', 600))
  expect(files()).toHaveLength(2)
  let isAppended = false
  replace('unlink', async () => {
    if (isAppended) return
    isAppended = true
    await spool.append(record('c', 'p'))
  })
  await spool.drain(delivery(() => true))
  await spool.drain(delivery(() => true))
  expect([sent, files()]).toEqual([['a', 'b', 'c'], []])
})

it('a partition that catches up does not delay other partitions', async () => {
  const { spool, sent, delivery } = await setUp(1e9)
  await spool.append(record('a', 'slow'))
  await spool.drain(delivery(() => false))
  const slow = Promise.withResolvers<boolean>()
  let isAsked = false
  const accepts = (partition: string) => {
    if (partition !== 'slow') return true
    isAsked = true
    return slow.promise
  }
  const draining = vi.waitUntil(async () => (await spool.drain(delivery(accepts))) === 'empty', { timeout: 10_000 })
  await vi.waitUntil(() => isAsked, { timeout: 10_000 })
  await spool.append(record('b', 'well'))
  await vi.waitFor(() => expect(sent).toEqual(['b']), { timeout: 5000 })
  slow.resolve(true)
  await draining
  expect(sent).toEqual(['b', 'a'])
})

it('a shutdown ends the drain while partitions catch up and a record is appended', { timeout: 20_000 }, async () => {
  const { spool, delivery } = await setUp(1e9)
  for (const partition of ['a', 'b', 'c']) await spool.append(record('r', partition))
  await spool.drain(delivery(() => false))
  const stop = new AbortController()
  // Fail after 100,000 reads of the clock. A drain that blocks the event loop also blocks vitest's
  // timeout.
  const now = performance.now.bind(performance)
  let calls = 0
  onTestFinished(() => void vi.restoreAllMocks())
  vi.spyOn(performance, 'now').mockImplementation(() => {
    if (++calls > 100_000) throw new Error('the drain spins')
    return now()
  })
  let appended: Promise<void> | undefined
  const accepts = () => {
    appended ??= spool.append(record('late', 'd'))
    stop.abort()
    return true
  }
  await vi.waitUntil(async () => (await spool.drain(delivery(accepts), stop.signal)) === 'stopped', { timeout: 10_000 })
  await appended
})

it('the drain notices a changed number of partitions while a partition catches up', {
  timeout: 20_000,
}, async () => {
  const { spool, sent, delivery } = await setUp(1e9)
  // Append more records than one cursor can keep.
  await Promise.all(Array.from({ length: 1500 }, () => spool.append(record('r', 'a'))))
  let names = 'of 12'
  let accepts = () => false
  const changing: Destination = {
    partitionOf: ({ topic }) => `${topic} ${names}`,
    send: async (records, keep) => {
      if (accepts() && records.length > 400 && names !== 'of 24') {
        names = 'of 24'
        // From here on, another partition fails.
        await spool.append(record('r', 'failing'))
      }
      return delivery((partition) => partition === 'a' && accepts()).send(records, keep)
    },
  }
  await spool.drain(changing)
  accepts = () => true
  await vi.waitUntil(async () => (await spool.drain(changing)) === 'incomplete' && sent.length === 1500, {
    timeout: 10_000,
  })
  expect(names).toBe('of 24')
})

it('if the next spool file cannot be opened, no record that was already read is lost', async () => {
  const { spool, sent, delivery, files } = await setUp(1)
  const accepts = (partition: string) => partition === 'well'
  await spool.append(record('a', 'failing'))
  await spool.drain(delivery(accepts))
  await spool.append(record('b', 'well'))
  await spool.append(record('c', 'well'))
  const last = files().sort().at(-1)!
  let isRefused = false
  replace('open', (path) => {
    if (isRefused || !path.endsWith(last)) return
    isRefused = true
    throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })
  })
  await expect(spool.drain(delivery(accepts))).rejects.toThrow('EMFILE')
  await spool.drain(delivery(accepts))
  expect(sent).toEqual(['b', 'c'])
})
