import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type LedgerEntry, openLedger } from './ledger.ts'

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

function read(): LedgerEntry[] {
  const lines = readFileSync(path, 'utf8').split('\n')
  expect(lines.pop()).toBe('')
  return lines.map((line) => JSON.parse(line))
}

test('the ledger has the entries in the order in which they were appended', () => {
  const numbers = Array.from({ length: 5000 }, (_, n) => n)
  write(...numbers)
  expect(read()).toEqual(numbers.map(entry))
})

test('a later run appends to the ledger of an earlier run', () => {
  write(1)
  write(2)
  expect(read()).toEqual([entry(1), entry(2)])
})

test('the next writer of a ledger removes a torn last line', () => {
  write(1)
  appendFileSync(path, '{"id":"to')
  write(2)
  expect(read()).toEqual([entry(1), entry(2)])
})

test('the ledger stays empty if no event of a run was answered with 2xx', () => {
  writeFileSync(path, '')
  write()
  expect(readFileSync(path, 'utf8')).toBe('')
})
