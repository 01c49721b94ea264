import type { TopicAdmin } from '@customer-stream/runtime/kafka'
import { type Erasure, readErasureRecord } from '@customer-stream/schemas'
import { readTopic, requireReadable } from '@customer-stream/verify'

type LastErasure = Pick<Erasure, 'scope' | 'erasedAt'>

/** Reads the last erasure of each customer. Memory grows with the number of erased customers. */
export const readErasures = async (
  admin: TopicAdmin,
  topic: string,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, LastErasure>> => {
  const ends = await requireReadable(admin, topic, signal)
  const erasures = new Map<string, LastErasure>()
  const note = (record: { readonly key: Buffer | null; readonly value: Buffer | null }) => {
    const read = readErasureRecord(record)
    if (!read.ok) return
    const { scope, erasedAt } = read.value.erasure
    erasures.set(read.value.customerUuid, { scope, erasedAt })
  }
  await readTopic(admin, topic, note, { ends, signal })
  return erasures
}
