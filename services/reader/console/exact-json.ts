/**
 * Parses JSON for display. A number that JavaScript would round stays the text of the sender, so
 * that a person sees its digits.
 */
export const parseExact = (text: string): unknown =>
  JSON.parse(text, (_name: string, value: unknown, { source }: { readonly source?: string } = {}) =>
    typeof value === 'number' && source !== undefined && String(value) !== source ? source : value,
  )
