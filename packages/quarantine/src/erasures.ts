import { attributed, fetchEnds, readTopic, requireReadable, type TopicAdmin } from '@customer-stream/runtime/kafka'
import { type Erasure, readErasureRecord } from '@customer-stream/schemas'

type LastErasure = Pick<Erasure, 'scope' | 'erasedAt'>

export interface Erasures {
  /** Returns the last erasure of a customer. */
  of(customerUuid: string): LastErasure | undefined
  /** Reads the erasures that were stored since the last reading. */
  refresh(): Promise<void>
}

/** Reads the last erasure of each customer. Memory grows with the number of erased customers. */
export const openErasures = async (admin: TopicAdmin, topic: string, signal: AbortSignal): Promise<Erasures> => {
  const erasures = new Map<string, LastErasure>()
  const note = (record: { readonly key: Buffer | null; readonly value: Buffer | null }) => {
    const read = readErasureRecord(record)
    if (!read.ok) return
    const { scope, erasedAt } = read.value.erasure
    erasures.set(read.value.customerUuid, { scope, erasedAt })
  }
  let known = await requireReadable(admin, topic, signal)
  await readTopic(admin, topic, note, { ends: known, signal })
  return {
    of: (customerUuid) => erasures.get(customerUuid),
    refresh: async () => {
      const ends = await attributed(`read topic ${topic}`, () => fetchEnds(admin, topic))
      const readTo = new Map(known.map(({ partition, high }) => [partition, high]))
      const added = ends.map((end) => ({ ...end, low: readTo.get(end.partition) ?? end.low }))
      await readTopic(admin, topic, note, { ends: added, signal })
      known = ends
    },
  }
}
