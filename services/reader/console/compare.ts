/** Compares two versions of a customer, value by value. */
import { MASK } from './format.ts'

export interface Change {
  /** Path of the value, for example `customer.emails[0].label`. */
  readonly path: string
  /** `masked`: both values are masked, so it is not known whether they are equal. */
  readonly kind: 'added' | 'removed' | 'changed' | 'same' | 'masked'
  /** Undefined if the value was added. */
  readonly before: unknown
  /** Undefined if the value was removed. */
  readonly after: unknown
}

/** Lists the values of a document by their paths. An empty list or object is a value. */
const leavesOf = (value: unknown, path = ''): readonly (readonly [string, unknown])[] => {
  if (value === undefined) return []
  if (typeof value !== 'object' || value === null) return [[path, value]]
  const isList = Array.isArray(value)
  const members = Object.entries(value)
  if (members.length === 0) return [[path, value]]
  const place = (name: string) => (isList ? `${path}[${name}]` : path === '' ? name : `${path}.${name}`)
  return members.flatMap(([name, member]) => leavesOf(member, place(name)))
}

const kindOf = (was: unknown, is: unknown): Change['kind'] => {
  if (was === undefined) return 'added'
  if (is === undefined) return 'removed'
  if (was === MASK && is === MASK) return 'masked'
  return JSON.stringify(was) === JSON.stringify(is) ? 'same' : 'changed'
}

/** Returns all values in the order of the newer version. Removed values come last. */
export const compareVersions = (before: unknown, after: unknown): readonly Change[] => {
  const [old, current] = [new Map(leavesOf(before)), new Map(leavesOf(after))]
  return [...new Set([...current.keys(), ...old.keys()])].map((path) => {
    const [was, is] = [old.get(path), current.get(path)]
    return { path, kind: kindOf(was, is), before: was, after: is }
  })
}
