/**
 * Finds secrets and personal data in the texts that the services and the commands emit: logs,
 * metrics, readiness and the output of a terminal.
 */
import { readFileSync } from 'node:fs'
import { ingressSettings, projectorSettings, readerSettings } from '@customer-stream/configuration'
import { PERSONAL_TEXTS } from '@customer-stream/simulator'

type Env = Readonly<Record<string, string | undefined>>

/** First and last names that tests give to their customers. */
const NAMES_OF_TESTS = ['Ada', 'Byron', 'José', 'Lovelace', 'Mallory', 'Müller', 'Renée', 'Zoë']

/** Minimum length of a secret that is searched for. A shorter secret may be an ordinary word. */
const MIN_SECRET_LENGTH = 8

const schemas: Readonly<Record<string, { readonly [option: string]: unknown }>> = {
  ...ingressSettings,
  ...projectorSettings,
  ...readerSettings,
}
const SECRET_SETTINGS = Object.keys(schemas).filter((name) => schemas[name]?.secret === true)

const PERSONAL_FIELDS = 'firstName|middleName|lastName|emailAddress|phoneNumber|licensePlate|line1|vin'

/** Returns a pattern that finds the text even inside JSON, with escaped quotes and backslashes. */
const patternOf = (text: string): string => text.split(/["\\]/).map(RegExp.escape).join(String.raw`["\\]+`)

const allNames = [...PERSONAL_TEXTS, ...NAMES_OF_TESTS]
const names = allNames.map(patternOf).join('|')
const initials = [...new Set(allNames.map(([initial]) => initial))].join('')

/**
 * Patterns of personal data. A pattern with a `part` is tried only if the text contains the part.
 * The search for a part is much faster, and tests read the metrics of a service many times.
 */
const PERSONAL: readonly (readonly [kind: string, pattern: RegExp, part?: string])[] = [
  ['an e-mail address', /[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}/gi, '@'],
  ['a phone number', /\+\d{10,15}\b|(?<![\d.])1310\d{7}\b/g],
  ['a VIN', /\b1GD[0-9A-F]{14}\b/gi],
  // Compare the initial letter first, because the other conditions take longer.
  [
    'a name, company or street',
    new RegExp(String.raw`(?=[${initials}])(?<![\p{L}\p{N}])(?:${names})(?![\p{L}\p{N}])`, 'gu'),
  ],
  ['a field of a customer', new RegExp(String.raw`\b(?:${PERSONAL_FIELDS})\\*"\s*:`, 'g')],
  // Each key of a test has this form. A service knows only the digest, so no setting has the key.
  ['an API key', /[\w-]+-api-key\b/g, '-api-key'],
  ['bytes of a body', /\\*"type\\*":\\*"Buffer\\*"|<Buffer 7b|\beyJ[\w+/-]{20,}/g],
]

/** Returns the parts of a setting's value that nobody may see. */
const partsOf = (value: string): string[] => {
  if (/^(?:rediss?|unix):/.test(value))
    return [...value.matchAll(/:([^:@/]+)@/g)].map(([, password = '']) => decodeURIComponent(password))
  return value.split(/[,\r\n]/).flatMap((item) => [item.trim(), item.trim().replace(/^[\w.-]+=/, '')])
}

const contentOf = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // Ignore the error: the test has removed the file, or the file is missing on purpose.
  }
}

/** The secrets of all processes so far. A collector does not know which process has sent a span. */
const known = new Set<string>()

/** Returns the secrets in the settings of a process, including the secrets in files. */
export const secretsOf = (env: Env): string[] => {
  const values = SECRET_SETTINGS.flatMap((name) => [env[name] ?? '', contentOf(env[`${name}_FILE`] ?? '')])
  const parts = [...new Set(values.flatMap(partsOf))]
  // The first and the last line of a key in PEM format are not secret.
  const secrets = parts.filter((part) => part.length >= MIN_SECRET_LENGTH && !part.startsWith('-----'))
  for (const secret of secrets) known.add(secret)
  return secrets
}

/** Returns one line for each kind of secret or personal data in the text. */
export const leaksIn = (text: string, secrets: readonly string[] = []): string[] => {
  const found = (kind: string, part: string, at: number) =>
    `${kind} (${part}): …${text.slice(Math.max(0, at - 100), at + 100).trim()}…`
  return [
    ...secrets.flatMap((secret) => (text.includes(secret) ? [found('a secret', secret, text.indexOf(secret))] : [])),
    ...PERSONAL.flatMap(([kind, pattern, part = '']) => {
      if (!text.includes(part)) return []
      const [first] = text.matchAll(pattern)
      return first ? [found(kind, first[0], first.index)] : []
    }),
  ]
}

const leaks = new Set<string>()

/** Searches a text. `rejectLeaks` then reports the findings. */
export const inspectText = (source: string, text: string, secrets: readonly string[]): void => {
  for (const leak of leaksIn(text, secrets)) leaks.add(`${source}: ${leak}`)
}

/** Searches a request to the collector of traces. */
export const inspectSpans = (request: string): void => inspectText('the spans of a service', request, [...known])

/**
 * Searches a log. Reads the log synchronously, because the test may remove the log after the end of
 * the service.
 */
export const inspectLog = (source: string, logFile: string, secrets: readonly string[]): void =>
  inspectText(source, contentOf(logFile), secrets)

/** These commands may print data of a customer, because an operator asks for it. */
const SHOWS_A_CUSTOMER = /^(?:customer|quarantine) show\b/

/** Searches the output of a `customer-stream` command. */
export const inspectCommand = (words: readonly string[], output: string, env: Env): void => {
  const command = words.join(' ')
  if (!SHOWS_A_CUSTOMER.test(command)) inspectText(`customer-stream ${command}`, output, secretsOf(env))
}

/** Throws if an inspected text had a secret or personal data. */
export const rejectLeaks = (): void => {
  const found = [...leaks]
  leaks.clear()
  if (found.length > 0) throw new Error(`secrets or data of customers were emitted:\n${found.join('\n')}`)
}
