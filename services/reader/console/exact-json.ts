/**
 * Parses JSON for display. A number that JavaScript would round stays a text, so that a person sees
 * all digits.
 */
export const parseExact = (text: string): unknown =>
  JSON.parse(text, (_name: string, value: unknown, { source }: { readonly source?: string } = {}) =>
    typeof value === 'number' && source !== undefined && String(value) !== source ? source : value,
  )
