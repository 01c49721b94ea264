/**
 * Sends records to Kafka. Resolves when all records are stored.
 * @throws an error with `kind: 'refused'` if Kafka will never accept one of the records.
 */
export type Send<R> = (records: readonly R[]) => Promise<void>

/** Records with the same outcome. A `refused` record is alone in its part. */
export type Part<R> =
  | { readonly end: 'stored'; readonly records: readonly R[] }
  | { readonly end: 'refused'; readonly record: R; readonly error: Error }
  | { readonly end: 'unavailable'; readonly records: readonly R[]; readonly error: Error }

/**
 * Sends records. Halves a refused batch until each part is stored, or consists of one refused
 * record. A broker refuses a whole batch because of one bad record, or because the batch exceeds
 * `max.message.bytes`. Without halving, a refused batch would block all later records forever.
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
