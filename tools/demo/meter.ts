const WINDOW_MS = 2000

/** Measures how fast a count grows, and estimates the time until the count reaches its total. */
export const createMeter = (total: number) => {
  const samples: { readonly at: number; readonly done: number }[] = []
  let first: { readonly at: number; readonly done: number } | undefined
  return {
    /**
     * @returns the rate of the last two seconds, and the estimated time left. The estimate uses the
     *   average rate since the start, because an outage of some seconds would distort a shorter
     *   rate.
     */
    sample: (at: number, done: number): { readonly perSecond: number; readonly secondsLeft: number | undefined } => {
      first ??= { at, done }
      samples.push({ at, done })
      while (samples.length > 2 && samples[1]!.at <= at - WINDOW_MS) samples.shift()
      const rateSince = (since: { readonly at: number; readonly done: number }) =>
        at > since.at ? ((done - since.done) / (at - since.at)) * 1000 : 0
      const average = rateSince(first)
      return {
        perSecond: rateSince(samples[0]!),
        secondsLeft: average > 0 ? Math.max(0, total - done) / average : undefined,
      }
    },
  }
}
