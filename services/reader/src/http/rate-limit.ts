/** Limits the requests of each API key: a token bucket that is full again after a second. */
export interface RateLimit {
  /** Returns whether the key may send one more request now. */
  allows(key: string): boolean
}

export const createRateLimit = (perSecond: number, now: () => number = () => performance.now()): RateLimit => {
  const buckets = new Map<string, { left: number; at: number }>()
  return {
    allows: (key) => {
      const at = now()
      const bucket = buckets.get(key) ?? { left: perSecond, at }
      const left = Math.min(perSecond, bucket.left + ((at - bucket.at) / 1000) * perSecond)
      const isAllowed = left >= 1
      buckets.set(key, { left: isAllowed ? left - 1 : left, at })
      return isAllowed
    },
  }
}
