/** Finds the customers that a body names, even in JSON text inside JSON text. */

/** Decodes escaped letters and slashes. Leaves other escapes as they are. */
const unescaped = (text: string): string =>
  text
    .replaceAll(/\\+u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .replaceAll(/\\+\//g, '/')

/**
 * Returns each text between two quotes. The result has all JSON strings, and also the JSON between
 * them. The extra texts are harmless. An id with a quote or a backslash is not found.
 */
export const textsIn = (json: string): string[] => unescaped(json).split(/\\*"/)

/**
 * Returns true if the value contains the id as a JSON string, even if that string is inside another
 * JSON string.
 */
export const namesCustomer = (value: Buffer | null, customerUuid: string): boolean => {
  if (value === null) return false
  const text = JSON.stringify(customerUuid).slice(1, -1)
  return (
    value.includes(`"${text}"`) ||
    value.includes(`\\"${text}\\"`) ||
    ((value.includes('\\u') || value.includes('\\/')) && textsIn(value.toString()).includes(customerUuid))
  )
}
