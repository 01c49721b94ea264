import { hash } from 'node:crypto'
import { readVersion, type Version } from '@customer-stream/schemas'

/**
 * Maximum length of an id in a header. A longer id could exceed the limits of clients and proxies.
 */
const MAX_CHARACTERS = 1000

/**
 * Returns `TIMESTAMP:ID` with a percent-encoded id, because a header cannot have every character.
 * If the id is too long for a header, its SHA-256 takes its place.
 */
export const versionText = ({ timestamp, id }: Version): string => {
  const encoded = encodeURIComponent(id)
  return `${timestamp}:${encoded.length <= MAX_CHARACTERS ? encoded : `sha256=${hash('sha256', id)}`}`
}

/** Reads `TIMESTAMP:ID`. Returns undefined if the text is not a version. */
export const readVersionText = (text: string): Version | undefined => {
  const [, timestamp, id] = /^(\d{1,16}):(.+)$/s.exec(text) ?? []
  const version = readVersion({ timestamp, id })
  return version.ok ? version.value : undefined
}

/** Returns true if the header If-None-Match names the tag. Compares weakly, as RFC 9110 demands. */
export const matchesTag = (ifNoneMatch: string | undefined, tag: string): boolean =>
  (ifNoneMatch ?? '').split(',').some((each) => ['*', tag].includes(each.trim().replace(/^W\//, '')))
