import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type LedgerEntry, openLedger, readLedger } from './ledger.ts'

let folder: string
let path: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ledger-'))
  path = join(folder, 'ledger.jsonl')
})
afterEach(() => rmSync(folder, { recursive: true }))

function entry(n: number): LedgerEntry {
  return {
    id: `é-${n}`,
    timestamp: n,
    type: 'customers',
    customerUuid: n % 2 ? null : 'c',
    sha256: 'aa',
    promisedAt: 1,
    attempt: 1,
    status: 202,
  }
}

function write(...numbers: number[]): void {
  const ledger = openLedger(path)
  for (const n of numbers) ledger.append(entry(n))
  ledger.close()
}

test('the ledger returns entries in the order in which they were appended', async () => {
  const numbers = Array.from({ length: 5000 }, (_, n) => n)
  write(...numbers)
  expect(await Array.fromAsync(readLedger(path))).toEqual(numbers.map(entry))
})

test('a later run appends to the ledger of an earlier run', async () => {
  write(1)
  write(2)
  expect(await Array.fromAsync(readLedger(path))).toEqual([entry(1), entry(2)])
})

test('a torn last line of the ledger is reported, ignored, and cut off by the next writer', async () => {
  write(1)
  appendFileSync(path, '{"id":"to')
  const torn: number[] = []
  expect(await Array.fromAsync(readLedger(path, (line) => torn.push(line)))).toEqual([entry(1)])
  expect(torn).toEqual([2])
  write(2)
  expect(await Array.fromAsync(readLedger(path))).toEqual([entry(1), entry(2)])
})

test.each(['{"id":"to', '', '{}', 'null', '7'])(
  'a bad line %j in the middle of the ledger is an error with its line number',
  async (bad) => {
    write(1)
    appendFileSync(path, `${bad}\n`)
    write(2)
    await expect(Array.fromAsync(readLedger(path))).rejects.toThrow('line 2')
  },
)

test('an empty ledger has no acknowledged events', async () => {
  writeFileSync(path, '')
  expect(await Array.fromAsync(readLedger(path))).toEqual([])
  write()
  expect(readFileSync(path, 'utf8')).toBe('')
})
