export const MAX_QUOTED_CHARACTERS = 100

/** Quotes a value of a setting for an error. Cuts a long value. */
export const quoted = (value: string): string =>
  value.length <= MAX_QUOTED_CHARACTERS
    ? JSON.stringify(value)
    : `${JSON.stringify(value.slice(0, MAX_QUOTED_CHARACTERS))}… (${value.length} characters)`
