/** Compares two versions of a customer, value by value. */

export interface Change {
  /** Place of the value, for example `customer.emails[0].label`. */
  readonly path: string
  readonly kind: 'added' | 'removed' | 'changed' | 'same'
  /** Undefined if the value was added. */
  readonly before: unknown
  /** Undefined if the value was removed. */
  readonly after: unknown
}

/** Lists the values of a document by their places. An empty list or object is a value. */
const leavesOf = (value: unknown, path = ''): readonly (readonly [string, unknown])[] => {
  if (value === undefined) return []
  if (typeof value !== 'object' || value === null) return [[path, value]]
  const isList = Array.isArray(value)
  const members = Object.entries(value)
  if (members.length === 0) return [[path, value]]
  const place = (name: string) => (isList ? `${path}[${name}]` : path === '' ? name : `${path}.${name}`)
  return members.flatMap(([name, member]) => leavesOf(member, place(name)))
}

const kindOf = (had: boolean, has: boolean, isEqual: boolean): Change['kind'] => {
  if (!had) return 'added'
  if (!has) return 'removed'
  return isEqual ? 'same' : 'changed'
}

/** Returns all values in the order of the newer version. Removed values come last. */
export const compareVersions = (before: unknown, after: unknown): readonly Change[] => {
  const [old, current] = [new Map(leavesOf(before)), new Map(leavesOf(after))]
  return [...new Set([...current.keys(), ...old.keys()])].map((path) => {
    const [was, is] = [old.get(path), current.get(path)]
    const isEqual = JSON.stringify(was) === JSON.stringify(is)
    return { path, kind: kindOf(old.has(path), current.has(path), isEqual), before: was, after: is }
  })
}
