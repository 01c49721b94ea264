/**
 * Requests the erasure of a customer: one record in the erasures topic. The projector does the rest.
 * It alone writes hashes and the state topic, so that there is one order.
 */
import type { VerifiedProducer } from '@customer-stream/runtime/kafka'
import { type Erasure, writeErasure } from '@customer-stream/schemas'

export interface ErasureRequest extends Omit<Erasure, 'erasedAt'> {
  readonly customerUuid: string
}

/**
 * Writes the record.
 * @param producer knows the partitions of the topic.
 * @param now time of the erasure, Unix milliseconds.
 * @returns the erasure, when all in-sync replicas have it.
 * @throws RangeError if the request cannot be written. NotStoredError if Kafka has not stored it.
 */
export const requestErasure = async (
  producer: Pick<VerifiedProducer, 'send'>,
  topic: string,
  { customerUuid, ...request }: ErasureRequest,
  now = Date.now(),
): Promise<Erasure> => {
  // A lone surrogate has no UTF-8 form. The key would be that of another customer.
  if (customerUuid === '' || !customerUuid.isWellFormed())
    throw new RangeError('the customerUuid is empty or holds a lone surrogate')
  const erasure = { ...request, erasedAt: now }
  const value = Buffer.from(writeErasure(erasure))
  await producer.send([{ topic, key: Buffer.from(customerUuid), value, timestamp: now }])
  return erasure
}
