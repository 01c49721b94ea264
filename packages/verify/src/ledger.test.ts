import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LedgerEntry, openLedger } from '@customer-stream/simulator'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readLedger } from './ledger.ts'

let folder: string
let path: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ledger-'))
  path = join(folder, 'ledger.jsonl')
})
afterEach(() => rmSync(folder, { recursive: true }))

const entry = (n: number): LedgerEntry => ({
  id: `é-${n}`,
  timestamp: n,
  type: 'customers',
  customerUuid: n % 2 ? null : 'c',
  sha256: 'aa',
  promisedAt: 1,
  attempt: 1,
  status: 202,
})
const write = (...numbers: readonly number[]) => {
  const ledger = openLedger(path)
  for (const n of numbers) ledger.append(entry(n))
  ledger.close()
}

test('the entries that the simulated sender wrote are read in their order', async () => {
  const numbers = Array.from({ length: 5000 }, (_, n) => n)
  write(...numbers)
  expect(await Array.fromAsync(readLedger(path))).toEqual(numbers.map(entry))
})

test('a torn last line of a ledger is reported and ignored', async () => {
  write(1)
  appendFileSync(path, '{"id":"to')
  const torn: number[] = []
  expect(await Array.fromAsync(readLedger(path, (line) => torn.push(line)))).toEqual([entry(1)])
  expect(torn).toEqual([2])
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
})
