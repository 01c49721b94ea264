/**
 * Compares the contract documents with the documents of the last release.
 *
 * Records stay in Kafka for years. So old readers must understand new records, and new readers must
 * understand old records. A change is compatible if it adds an optional part, or changes only text.
 * Every other change is breaking.
 */
import { compare, compareJsonSchema, compareOpenApi, type Diff } from 'api-smart-diff'

/** The documents of a contract, as parsed JSON, by name of the file. */
export type Contract = Readonly<Record<string, unknown>>

export interface BreakingChange {
  /** Name of the document's file. */
  readonly document: string
  /** Name of the changed field, answer, topic or rule. */
  readonly member: string
  readonly description: string
}

/** A changeset as `@changesets/read` returns it. */
export interface Changeset {
  readonly summary: string
  readonly releases: readonly { readonly name: string; readonly type: string }[]
}

/** Annotations, which may change. `version` is the version of the package. */
const TEXTS: ReadonlySet<unknown> = new Set(['title', 'description', 'summary', 'version'])

// The library does not know AsyncAPI 3, and its general comparison does not classify changes. For
// AsyncAPI, only an added optional part counts as compatible.
const engineOf = (document: string) => {
  if (document.endsWith('.schema.json')) return compareJsonSchema
  return document.endsWith('openapi.json') ? compareOpenApi : compare
}

const isBreaking = ({ type, action, path }: Diff): boolean => {
  // A name below `properties` is a field, even if an annotation has the same name.
  if (TEXTS.has(path.at(-1)) && path.at(-2) !== 'properties') return false
  if (type === 'annotation') return false
  return type === 'breaking' || action !== 'add' || path.at(-2) === 'required'
}

const memberOf = ({ path, before, after }: Diff): string => {
  if (path.at(-2) === 'required') return String(before ?? after)
  const inProperties = path.lastIndexOf('properties')
  const member = inProperties >= 0 ? path[inProperties + 1] : undefined
  return String(member ?? path.findLast((part) => typeof part === 'string') ?? '')
}

const changesOf = (document: string, before: unknown, after: unknown): BreakingChange[] => {
  if (after === undefined) return [{ document, member: document, description: 'the document is removed' }]
  const { diffs } = engineOf(document)(before, after)
  const changes = diffs.filter(isBreaking).map((diff) => ({
    document,
    member: memberOf(diff),
    description: `${diff.action} ${diff.path.join('/')}`,
  }))
  // Remove copies, because the OpenAPI comparison reports a changed part once for each reference to
  // it.
  return [...new Map(changes.map((change) => [change.member, change])).values()]
}

/** Returns the breaking changes from the released contract to the current contract. */
export const breakingChanges = (released: Contract, current: Contract): BreakingChange[] =>
  Object.entries(released).flatMap(([document, before]) => changesOf(document, before, current[document]))

/**
 * Returns the breaking changes that no changeset declares. A changeset declares a change if the
 * changeset has a breaking version bump, and names the document and the member in backticks.
 * @param version of the package at the last release. Below 1.0.0, a minor version may have breaking
 *   changes.
 */
export const undeclared = (
  changes: readonly BreakingChange[],
  changesets: readonly Changeset[],
  { name, version }: { readonly name: string; readonly version: string },
): BreakingChange[] => {
  const breaking = version.startsWith('0.') ? ['major', 'minor'] : ['major']
  const declaring = changesets.filter(({ releases }) =>
    releases.some((release) => release.name === name && breaking.includes(release.type)),
  )
  return changes.filter(
    ({ document, member }) =>
      !declaring.some(({ summary }) => [document, member].every((part) => summary.includes(`\`${part}\``))),
  )
}
