import { retryWithBackoff } from '@customer-stream/runtime'
import { createVerifiedProducer, type OutgoingRecord } from '@customer-stream/runtime/kafka'
import { makeCustomersEvent, Random } from '@customer-stream/simulator'
import type { Pipeline } from '@customer-stream/testing'
import type { Bench } from '../questions/question.ts'
import { createTopics, endlessRetry } from './create-topics.ts'

export interface FillOptions {
  readonly events: number
  readonly customers: number
  readonly partitions: number
  /** Number of additional fields of each customer. */
  readonly extraFields?: number
  /**
   * True if each event has its own phone numbers, e-mail addresses and VINs, and one of 50 dealers.
   * Otherwise these values repeat after {@link TEMPLATES} events.
   */
  readonly hasOwnTerms?: boolean
}

const BATCH_RECORDS = 500
/**
 * Number of different bodies. The bodies are reused with new ids, because creating a body is slow.
 */
const TEMPLATES = 1000
const DEALERS = 50
const NEWEST = 1_780_000_000_000

/** Writes the same number of events for each customer. The seed determines the order. */
export const fillTopic = async (
  bench: Bench,
  pipeline: Pipeline,
  { events, customers, partitions, extraFields = 0, hasOwnTerms = false }: FillOptions,
): Promise<void> => {
  const topic = pipeline.topics.customers
  await createTopics(bench, pipeline, Object.values(pipeline.topics), partitions)
  const producer = createVerifiedProducer(pipeline.kafka, { metadataMaxAgeMs: 30_000, produceTimeoutMs: 30_000 })
  await producer.connect()
  await producer.setPartitions(new Map([[topic, partitions]]))
  const random = new Random(7)
  const extra = Object.fromEntries(Array.from({ length: extraFields }, (_, i) => [`extraField${i}`, random.hex(12)]))
  const dealers = Array.from({ length: DEALERS }, () => random.hex(63))
  const count = hasOwnTerms ? events : TEMPLATES
  const templates = Array.from({ length: count }, (_, i) => {
    const { body, customerUuid, id } = makeCustomersEvent({
      timestamp: NEWEST,
      customer: extra,
      customerUuid: 'CUSTOMER-UUID',
      ...(hasOwnTerms && { dealeruuid: dealers[i % DEALERS] ?? '' }),
    })
    return { parts: body.split('CUSTOMER-UUID'), id, customerUuid }
  })
  const order = Uint32Array.from({ length: events }, (_, i) => i % customers)
  for (let i = events - 1; i > 0; i--) {
    const other = random.below(i + 1)
    const swapped = order[i] ?? 0
    order[i] = order[other] ?? 0
    order[other] = swapped
  }
  let batch: OutgoingRecord[] = []
  for (let i = 0; i < events; i++) {
    const template = templates[i % count]
    if (!template) break
    const customerUuid = `customer-${String(order[i]).padStart(12, '0')}-of-the-bench`
    const timestamp = String(NEWEST + i)
    const body = template.parts.join(customerUuid).replace(String(NEWEST), timestamp).replace(template.id, `event-${i}`)
    batch.push({ topic, key: Buffer.from(customerUuid), value: Buffer.from(body), timestamp: NEWEST + i })
    if (batch.length < BATCH_RECORDS && i < events - 1) continue
    const full = batch
    await retryWithBackoff(() => producer.send(full), endlessRetry)
    batch = []
  }
  await producer.disconnect()
}
