/** Numbers and times as text. A value that is not known is a dash, never a zero. */

export const UNKNOWN = '–'

/** Text that the reader sends instead of personal data. */
export const MASK = '***'

const whole = new Intl.NumberFormat('en')
const short = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 })
const moment = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' })
const clock = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' })

type Maybe = number | null | undefined

export const formatCount = (value: Maybe): string => (value == null ? UNKNOWN : whole.format(value))

export const formatRate = (value: Maybe): string => (value == null ? UNKNOWN : `${short.format(value)}/s`)

/** Formats a span of time with its largest unit. */
export const formatSpan = (ms: Maybe): string => {
  if (ms == null) return UNKNOWN
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${short.format(ms / 1000)} s`
  if (ms < 3_600_000) return `${short.format(ms / 60_000)} min`
  return ms < 172_800_000 ? `${short.format(ms / 3_600_000)} h` : `${whole.format(Math.round(ms / 86_400_000))} days`
}

export const formatTime = (unixMs: Maybe): string => (unixMs == null ? UNKNOWN : moment.format(unixMs))

export const formatClock = (unixMs: number): string => clock.format(unixMs)

/** Formats a count with its noun, for example `1 customer`. */
export const countOf = (count: number, noun: string): string =>
  `${whole.format(count)} ${noun}${count === 1 ? '' : 's'}`
