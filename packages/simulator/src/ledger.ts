/**
 * The ledger has one JSON line for each promise. A promise is a delivery that was answered with 2xx
 * in time. A killed run may leave an incomplete line without a newline. The next writer removes
 * this line. `customer-stream verify --ledger` reads a ledger.
 */
import { hash } from 'node:crypto'
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'

export interface LedgerEntry {
  readonly id: string
  readonly timestamp: number
  readonly type: string
  /** Null for an event of another type. */
  readonly customerUuid: string | null
  /** SHA-256 of the body's bytes, in hex. */
  readonly sha256: string
  /** Unix milliseconds. */
  readonly promisedAt: number
  /** Number of the attempt, 1 to 6. */
  readonly attempt: number
  readonly status: number
}

/** Returns the entry for an event that was answered with 2xx now. */
export const ledgerEntry = (
  { id, timestamp, type, customerUuid }: Pick<LedgerEntry, 'id' | 'timestamp' | 'type' | 'customerUuid'>,
  body: string | Uint8Array,
  { attempt, status } = { attempt: 1, status: 202 },
): LedgerEntry => ({
  id,
  timestamp,
  type,
  customerUuid,
  sha256: hash('sha256', body),
  promisedAt: Date.now(),
  attempt,
  status,
})

export interface LedgerWriter {
  append(entry: LedgerEntry): void
  close(): void
}

const BUFFERED_CHARACTERS = 64 * 1024

/**
 * Opens a ledger for appending. Writes are synchronous, so that a caller gets each error of the
 * disk.
 */
export function openLedger(path: string): LedgerWriter {
  const file = openSync(path, 'a+')
  cutTornLine(file)
  let lines = ''
  const flush = (): void => {
    const bytes = Buffer.from(lines)
    lines = ''
    for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written)
  }
  return {
    append(entry) {
      lines += `${JSON.stringify(entry)}\n`
      if (lines.length > BUFFERED_CHARACTERS) flush()
    },
    close() {
      try {
        flush()
      } finally {
        closeSync(file)
      }
    },
  }
}

function cutTornLine(file: number): void {
  const { size } = fstatSync(file)
  const tail = Buffer.alloc(Math.min(size, BUFFERED_CHARACTERS))
  readSync(file, tail, 0, tail.length, size - tail.length)
  const torn = tail.length - (tail.lastIndexOf('\n') + 1)
  if (torn > 0) ftruncateSync(file, size - torn)
}
