import type { StoredCustomer } from '@customer-stream/schemas'
import type { FastifyRequest } from 'fastify'
import { DamagedCustomerError } from '../customers.ts'
import type { ReaderMetrics } from '../metrics.ts'
import type { Client } from './api-keys.ts'
import { type CustomerDocument, customerDocument } from './customer-document.ts'
import { maskCustomer } from './mask.ts'

export interface RevealDependencies {
  readonly metrics: Pick<ReaderMetrics, 'reveals'>
  /** Called for each answer that shows personal data without a mask. */
  readonly onReveal: (key: string, customerUuids: readonly string[]) => void
}

/** Returns the document that this API key may see. Does not report a reveal. */
export const documentFor = (client: Client, stored: StoredCustomer): CustomerDocument => {
  const document = customerDocument(stored)
  if (document === undefined) throw new DamagedCustomerError(stored.customer.customerUuid)
  return client.has('pii') ? document : maskCustomer(document)
}

/**
 * Reports the customers whose personal data an answer shows. The answer to HEAD has no body, so it
 * shows nothing.
 */
export const reportReveal = (
  { metrics, onReveal }: RevealDependencies,
  { client, method }: Pick<FastifyRequest, 'client' | 'method'>,
  customerUuids: readonly string[],
): void => {
  if (!client?.has('pii') || method === 'HEAD' || customerUuids.length === 0) return
  metrics.reveals.inc(customerUuids.length)
  onReveal(client.name, customerUuids)
}
