/** Delay of a request, with which Kafka enforces a quota. */
interface QuotaDelay {
  readonly broker: string
  readonly clientId: string
  readonly throttleMs: number
}

/**
 * Time for which a delay is reported after its end. Otherwise /readyz would not show a delay that
 * repeats after short pauses.
 */
const REPORTED_FOR_MS = 60_000

/** Last delay of this process, and the time at which its report ends. */
let last: (QuotaDelay & { readonly until: number }) | undefined

export const noteQuotaDelay = (delay: QuotaDelay): void => {
  last = { ...delay, until: performance.now() + delay.throttleMs + REPORTED_FOR_MS }
}

/**
 * Returns a sentence about a quota that delays this process now, or has delayed it within the last
 * minute. No request fails, so no other check shows the reason why the service is slow.
 */
export const quotaDelay = (): string | undefined => {
  if (last === undefined || performance.now() > last.until) return undefined
  const { broker, clientId, throttleMs } = last
  return (
    `${broker} has delayed requests of the client id ${clientId} by ${(throttleMs / 1000).toFixed(1)} s, because ` +
    'they exceed a quota of Kafka. Raise the quota of the user or the client id.'
  )
}
