/**
 * Keeps the newest of many values. Values may be added in any order, because partitions are read
 * one after another.
 */
export const createNewest = <T>(limit: number) => {
  let kept: { readonly at: number; readonly value: T }[] = []
  const cut = () => {
    // The sort is stable, so values of the same time stay in the order in which they were added.
    kept.sort((a, b) => a.at - b.at)
    if (kept.length > limit) kept = limit === 0 ? [] : kept.slice(-limit)
  }
  return {
    add: (at: number, value: T): void => {
      kept.push({ at, value })
      if (kept.length > 2 * limit + 1000) cut()
    },
    /** Returns the newest values, the newest last. */
    inOrder: (): readonly T[] => {
      cut()
      return kept.map(({ value }) => value)
    },
  }
}
