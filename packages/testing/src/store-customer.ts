import { waitUntil } from '@customer-stream/runtime'
import { customerKey } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import type { Pipeline } from './pipeline.ts'
import type { ServiceProcess } from './service-process.ts'

/** Resolves when Redis has the customer's event with this timestamp. */
export const untilApplied = (
  { redis, keyPrefix }: Pick<Pipeline, 'redis' | 'keyPrefix'>,
  customerUuid: string,
  timestamp: number,
): Promise<unknown> =>
  waitUntil(
    'the event is applied',
    () => redis.hget(customerKey(customerUuid, keyPrefix), '_eventTimestamp'),
    (stored) => stored === String(timestamp),
  )

/** Sends one event of a customer. Resolves when Redis has the event. */
export const storeCustomer = async (
  pipeline: Pipeline,
  ingress: ServiceProcess,
  customerUuid: string,
  timestamp: number,
): Promise<void> => {
  const { status } = await pipeline.post(ingress, makeCustomersEvent({ customerUuid, timestamp }).body)
  if (status !== 202) throw new Error(`the ingress answers ${status}`)
  await untilApplied(pipeline, customerUuid, timestamp)
}
