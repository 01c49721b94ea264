/**
 * Reads the ledger of the simulated sender. The ledger has one JSON line for each promise. A
 * promise is a delivery that was answered with 2xx in time.
 */
import { createReadStream } from 'node:fs'

export interface LedgerEntry {
  readonly id: string
  readonly timestamp: number
  readonly type: string
  /** Null for an event of another type. */
  readonly customerUuid: string | null
  /** SHA-256 of the body's bytes, in hex. */
  readonly sha256: string
}

/**
 * Reads all promises of a ledger. Ignores an incomplete last line, and reports it.
 * @throws an error with the line number if any other line is invalid.
 */
export async function* readLedger(
  path: string,
  onTornLine = (line: number): void => process.emitWarning(`${path}: line ${line} is torn and was ignored`),
): AsyncGenerator<LedgerEntry> {
  let number = 0
  let rest = ''
  for await (const chunk of createReadStream(path, 'utf8')) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    for (const line of lines) yield parseLine(line, path, ++number)
  }
  if (rest !== '') onTornLine(number + 1)
}

const TEXTS = ['id', 'type', 'sha256'] as const

function parseLine(line: string, path: string, number: number): LedgerEntry {
  let entry: Record<string, unknown> | null = null
  try {
    entry = JSON.parse(line)
  } catch {}
  const sound =
    entry !== null &&
    TEXTS.every((name) => typeof entry[name] === 'string') &&
    typeof entry.timestamp === 'number' &&
    (entry.customerUuid === null || typeof entry.customerUuid === 'string')
  if (!sound) throw new Error(`${path}: line ${number} is not a ledger entry: ${line.slice(0, 80)}`)
  return entry as unknown as LedgerEntry
}
