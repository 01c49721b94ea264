/**
 * A projector loads this file before its own code. Intervals of a minute or more are divided by 30,
 * because a test cannot wait for minutes.
 */
const { setInterval } = globalThis
const shorter = (ms: number | undefined) => (ms !== undefined && ms >= 60_000 ? ms / 30 : ms)
globalThis.setInterval = ((work: () => void, ms?: number) =>
  setInterval(work, shorter(ms))) as typeof globalThis.setInterval
