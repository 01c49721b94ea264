/** Reads the setting `READER_API_KEYS`: a JSON array with an object for each API key. */

/**
 * Rights of a key. `read` reads customers, with personal data masked. `pii` shows personal data
 * unmasked. `operate` reads the pipeline, and works with quarantine.
 */
export const SCOPES = ['read', 'pii', 'operate'] as const
export type Scope = (typeof SCOPES)[number]

export interface ApiKey {
  /** Name in logs and metrics. */
  readonly name: string
  /** SHA-256 of the key, 64 hexadecimal digits in lower case. */
  readonly sha256: string
  readonly scopes: readonly Scope[]
  /** Dealers whose customers the key may see. `*` means all dealers. */
  readonly dealers: readonly string[]
}

const isListOf = <T>(value: unknown, isItem: (item: unknown) => item is T): value is readonly T[] =>
  Array.isArray(value) && value.length > 0 && value.every(isItem)
const isScope = (item: unknown): item is Scope => SCOPES.includes(item as Scope)
const isDealer = (item: unknown): item is string => typeof item === 'string' && item !== ''

const MEMBERS = ['name', 'sha256', 'scopes', 'dealers']

/** Reads one entry. An error has only the number of the entry, because the rest may be secret. */
const readKey = (entry: unknown, index: number): ApiKey => {
  const wrong = (problem: string): Error => new Error(`key ${index + 1} ${problem}`)
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) throw wrong('is not an object')
  const { name, sha256, scopes, dealers } = entry as Record<string, unknown>
  if (typeof name !== 'string' || !/^[\w.-]{1,64}$/.test(name))
    throw wrong('needs a name of 1 to 64 letters, digits, dots, hyphens or underscores')
  if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/i.test(sha256))
    throw wrong('needs sha256, the SHA-256 of the key as 64 hexadecimal digits')
  if (!isListOf(scopes, isScope)) throw wrong(`needs scopes, a list with at least one of ${SCOPES.join(', ')}`)
  if (!isListOf(dealers, isDealer)) throw wrong('needs dealers, a list of dealerUuids, or ["*"] for all dealers')
  if (Object.keys(entry).some((member) => !MEMBERS.includes(member)))
    throw wrong(`has a member other than ${MEMBERS.join(', ')}`)
  return { name, sha256: sha256.toLowerCase(), scopes, dealers }
}

const hasRepeats = (values: readonly string[]): boolean => new Set(values).size < values.length

/** @throws Error that names the problem, and does not contain the text. */
export const readApiKeys = (text: string): readonly ApiKey[] => {
  if (text === '') return []
  let entries: unknown
  try {
    entries = JSON.parse(text)
  } catch {
    throw new Error('the value is not JSON')
  }
  if (!Array.isArray(entries)) throw new Error('the value is not a JSON array of keys')
  if (entries.length === 0) throw new Error('the JSON array has no key')
  const keys = entries.map(readKey)
  if (hasRepeats(keys.map(({ name }) => name))) throw new Error('two keys have the same name')
  if (hasRepeats(keys.map(({ sha256 }) => sha256))) throw new Error('two keys have the same sha256')
  return keys
}
