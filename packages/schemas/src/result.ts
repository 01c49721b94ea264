/**
 * Result of a function that never throws: a value, or the reason of a failure. `reason` is a stable
 * name, and `detail` is a sentence for people.
 */
export type Result<Value, Reason extends string> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly reason: Reason; readonly detail: string }

export const ok = <Value>(value: Value): { readonly ok: true; readonly value: Value } => ({ ok: true, value })

export const failed = <Reason extends string>(
  reason: Reason,
  detail: string,
): { readonly ok: false; readonly reason: Reason; readonly detail: string } => ({
  ok: false,
  reason,
  detail,
})
