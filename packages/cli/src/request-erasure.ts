/**
 * Requests the erasure of a customer with one record in the erasures topic. The projector deletes
 * the hash and publishes the tombstone. Only the projector writes hashes and the state topic, so
 * that all writes have one order.
 */
import type { VerifiedProducer } from '@customer-stream/runtime/kafka'
import { type Erasure, writeErasure } from '@customer-stream/schemas'

export interface ErasureRequest extends Omit<Erasure, 'erasedAt'> {
  readonly customerUuid: string
}

/**
 * Writes the record to the erasures topic.
 * @param producer knows the partitions of the topic.
 * @param now time of the erasure, Unix milliseconds.
 * @returns the erasure, after all in-sync replicas have stored the record.
 * @throws RangeError if the request is invalid. NotStoredError if Kafka has not stored the record.
 */
export const requestErasure = async (
  producer: Pick<VerifiedProducer, 'send'>,
  topic: string,
  { customerUuid, ...request }: ErasureRequest,
  now = Date.now(),
): Promise<Erasure> => {
  // A lone surrogate has no UTF-8 form. Kafka's client would replace it, and the key could then
  // name another customer.
  if (customerUuid === '' || !customerUuid.isWellFormed())
    throw new RangeError('the customerUuid is empty or has a lone surrogate')
  const erasure = { ...request, erasedAt: now }
  const value = Buffer.from(writeErasure(erasure))
  await producer.send([{ topic, key: Buffer.from(customerUuid), value, timestamp: now }])
  return erasure
}
