/**
 * Runs the conformance vectors: node conformance.ts FOLDER. Prints the number of passed vectors.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { compareVersions, partitionOf, readEvent, readState, stateToHash, type Version } from '@customer-stream/schemas'
import type { CountryCode } from 'libphonenumber-js/max'
import { email, phone, vin } from './normalise.ts'

const folder = process.argv[2] ?? '.'

/** Members of all kinds of vectors. Each file uses some of these members. */
interface Vector {
  readonly name: string
  readonly key: string
  readonly partitions: number
  readonly a: Version
  readonly b: Version
  readonly bodyBase64: string
  readonly contentType?: string
  readonly receivedAt?: number
  readonly valueBase64: string
  readonly document: string
  readonly appliedAt: number
  readonly projection: number
  readonly kind: 'phone' | 'email' | 'vin'
  readonly input: string
  readonly country: CountryCode
}

/** Reads a raw record. Without a time of receipt, no event is too far in the future. */
const read = ({ bodyBase64, contentType, receivedAt = Number.MAX_SAFE_INTEGER }: Vector) => {
  const event = readEvent({
    offset: '0',
    timestamp: String(receivedAt),
    key: null,
    value: Buffer.from(bodyBase64, 'base64'),
    headers: { 'content-type': contentType },
  })
  return event.ok ? event.value.version : event.reason
}
const state = ({ valueBase64 }: Vector) => {
  const document = readState(Buffer.from(valueBase64, 'base64'))
  return document.ok ? document.value.version : document.reason
}
const hash = ({ document, appliedAt, projection }: Vector) => {
  const given = readState(Buffer.from(document))
  if (!given.ok) return given.reason
  const result = stateToHash(given.value, { appliedAt, projection })
  if (!result.ok) return result.reason
  // Replace lone surrogates as a client of Redis does, because UTF-8 has no lone surrogates.
  const texts = result.value.fieldsAndValues.map((text) => text.toWellFormed())
  return Object.fromEntries(texts.flatMap((name, i) => (i % 2 === 0 ? [[name, texts[i + 1]]] : [])))
}

const runs: Readonly<Record<string, readonly [run: (vector: Vector) => unknown, expected: string]>> = {
  compare: [({ a, b }) => Math.sign(compareVersions(a, b)), 'compare'],
  read: [read, 'expect'],
  state: [state, 'expect'],
  hash: [hash, 'hash'],
  partition: [({ key, partitions }) => partitionOf(key, partitions), 'partition'],
  normalise: [({ kind, input, country }) => ({ phone, email, vin })[kind](input, country), 'expect'],
}

let passed = 0
let failed = 0
for (const [file, [run, expected]] of Object.entries(runs))
  for (const vector of JSON.parse(readFileSync(join(folder, `${file}.json`), 'utf8'))) {
    const found = run(vector)
    if (isDeepStrictEqual(found, vector[expected])) passed += 1
    else {
      failed += 1
      const name = JSON.stringify(vector.name ?? vector.key ?? vector.input)
      process.stderr.write(
        `${file}: ${name}: ${JSON.stringify(found)} instead of ${JSON.stringify(vector[expected])}\n`,
      )
    }
  }
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed > 0 ? 1 : 0
