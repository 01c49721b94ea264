/** The way to Kafka: resolves when all records are stored; throws an error with `kind` 'refused' when one of them never will be. */
export type Send<R> = (records: readonly R[]) => Promise<void>

/** Records that met the same end. A `refused` one stands alone. */
export type Part<R> =
  | { readonly end: 'stored'; readonly records: readonly R[] }
  | { readonly end: 'refused'; readonly record: R; readonly error: Error }
  | { readonly end: 'unavailable'; readonly records: readonly R[]; readonly error: Error }

/**
 * Sends records in as few parts as Kafka takes them in. A broker refuses a batch as a whole, for one bad record or because all of them together exceed
 * max.message.bytes: it is halved until what is refused stands alone. Sent as it is again, such a batch would be refused for ever, and all behind it would wait.
 */
export async function* sendInParts<R>(send: Send<R>, records: readonly R[]): AsyncGenerator<Part<R>, void, void> {
  try {
    await send(records)
  } catch (thrown) {
    const error = thrown as Error & { readonly kind?: string }
    const [record] = records
    if (error.kind !== 'refused' || record === undefined) yield { end: 'unavailable', records, error }
    else if (records.length === 1) yield { end: 'refused', record, error }
    else {
      const middle = records.length >> 1
      yield* sendInParts(send, records.slice(0, middle))
      yield* sendInParts(send, records.slice(middle))
    }
    return
  }
  yield { end: 'stored', records }
}
