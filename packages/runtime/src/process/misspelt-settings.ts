/** Finds variables of the environment that are probably misspelt settings. */
import { closest, distance } from 'fastest-levenshtein'
import { MAX_QUOTED_CHARACTERS } from './quoted.ts'
import type { Settings } from './setting-kinds.ts'

// Matches the variables that Kubernetes sets in each container for a service with the name "kafka"
// or "redis".
const serviceLink = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)$/
const ourPrefixes = ['KAFKA_', 'REDIS_', 'MYKAARMA_', 'READER_']

const units = /_(?:MS|MILLIS|MILLISECONDS|S|SECS?|SECONDS|MINUTES|BYTES|KB|KIB|MB|MIB|SIZE)$/
const withoutUnit = (name: string): string => name.replace(units, '')

/**
 * Returns true if the name is probably a misspelling of the setting: two or three wrong letters, a
 * missing or different unit, a longer last word, or a missing prefix. Any other name may be a
 * variable of another program.
 */
const means = (name: string, setting: string): boolean => {
  if (!setting.includes('_') || setting.length < 8) return false
  if (name.toUpperCase().replaceAll(/[.-]/g, '_') === setting) return true
  const wrongLetters = setting.length >= 12 ? 3 : 2
  // Compare the lengths first. `distance` is slow, and each start compares each variable with each
  // setting.
  const isNear = Math.abs(name.length - setting.length) <= wrongLetters && distance(name, setting) <= wrongLetters
  if (isNear) return true
  if (units.test(setting) && withoutUnit(name) === withoutUnit(setting)) return true
  if (name.startsWith(setting) && !name.slice(setting.length).includes('_')) return true
  return name.length >= 12 && setting === `MYKAARMA_${name}`
}

const wordsOf = (name: string): readonly string[] => name.split('_').map((word) => word.replace(/S$/, ''))

/** Returns true if the setting has each word of the name, in the singular or the plural. */
const hasWordsOf = (name: string, setting: string): boolean =>
  wordsOf(name).every((word) => wordsOf(setting).includes(word))

/** Returns the names of all variables that these settings read. */
const variablesOf = (settings: Settings): readonly string[] =>
  Object.entries(settings).flatMap(([name, schema]) => (schema.secret ? [name, `${name}_FILE`] : [name]))

/** Returns a sentence about each misspelt setting. */
export const misspelt = (settings: Settings, env: NodeJS.ProcessEnv, others: Settings): string[] => {
  const own = variablesOf(settings)
  // Ignore prefixes of other services, because services may share one environment file.
  const prefixes = ourPrefixes.filter((prefix) => own.some((name) => name.startsWith(prefix)))
  const ofOthers = variablesOf(others).filter((name) => prefixes.some((prefix) => name.startsWith(prefix)))
  const known = [...own, ...ofOthers]
  return Object.keys(env).flatMap((name) => {
    if (known.includes(name) || serviceLink.test(name)) return []
    const wrong = `${name.slice(0, MAX_QUOTED_CHARACTERS)} is not a setting`
    const whole = Object.entries(settings).find(([, { parts }]) => parts?.includes(name.replace(/_FILE$/, '')))
    if (whole !== undefined) return [`${wrong}: this value is a part of ${whole[0]}`]
    const meant = known.filter((other) => means(name, other))
    if (meant.length === 0 && !prefixes.some((prefix) => name.startsWith(prefix))) return []
    const similar = meant.length > 0 ? meant : known.filter((other) => hasWordsOf(name, other))
    return [`${wrong}; the nearest is ${closest(name, similar.length > 0 ? similar : known)}`]
  })
}
