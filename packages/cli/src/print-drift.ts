/** Prints the differences between the sender's events and the vendor's documentation. */
import type { Drift } from '@customer-stream/schemas'
import { counted, printable, utc } from './terminal-text.ts'

/** @param differences newest first. */
export const driftLines = (differences: readonly Drift[], isCleared: boolean): string[] => {
  if (differences.length === 0) return ['No differences: the compared events agree with the documentation.']
  const lines = differences.flatMap(({ kind, path, type, first, last, events }) => [
    printable(`  ${path}: ${kind}, ${type}`),
    `    in ${counted(events, 'compared event')}, first ${utc(first)}, last ${utc(last)}`,
  ])
  return [
    `${counted(differences.length, 'difference')} between the events and the documentation:`,
    ...lines,
    ...(isCleared ? ['The list was deleted. Projectors add differences that occur again.'] : []),
  ]
}
