import { COPY_METADATA } from './evidence.ts'
import type { StateDocument } from './read-event.ts'

/**
 * Compares a customer's hash with the document of the state topic. Ignores metadata that differs
 * between copies of an event.
 * @returns the sorted names of the fields that differ.
 */
export const differingFields = (
  hash: Readonly<Record<string, string>>,
  { fields }: Pick<StateDocument, 'fields'>,
): string[] => {
  const wellFormed = ([field, value]: readonly [string, string]) =>
    [field.toWellFormed(), value.toWellFormed()] as const
  const stored = new Map(Object.entries(hash).map(wellFormed))
  const expected = new Map([...fields].map(wellFormed))
  const names = new Set([...stored.keys(), ...expected.keys()])
  return [...names].filter((name) => !COPY_METADATA.has(name) && stored.get(name) !== expected.get(name)).sort()
}
