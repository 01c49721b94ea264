import { customerToHash, parseEvent } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline } from '@customer-stream/testing'
import { createStore } from '../../services/projector/src/store.ts'
import type { Bench } from '../questions/question.ts'

/** Number of events that the projector passes to Redis in one call. */
const CUSTOMERS_PER_CALL = 250
const CALLS_IN_FLIGHT = 4
const hashesOf = (customers: number) =>
  Array.from({ length: customers }, (_, i) => {
    const parsed = parseEvent(Buffer.from(makeCustomersEvent().body))
    if (!parsed.ok || parsed.value.kind !== 'customers') throw new Error('the simulator made no customers event')
    const hash = customerToHash(parsed.value, {
      topic: 't',
      partition: 0,
      offset: String(i),
      receivedAt: 1,
      appliedAt: 1,
      projection: 1,
    })
    if (!hash.ok) throw new Error(hash.detail)
    return hash.value
  })

/**
 * Writes prepared hashes by the projector's Lua script, to measure Redis without the projector.
 * @param count number of hashes.
 * @param rounds number of times that each hash is written in one run, each time with a different
 *   key.
 */
export const openFeeder = async ({ brokers }: Bench, count: number, rounds = 1) => {
  const pipeline = await openPipeline(brokers)
  const customers = hashesOf(count)
  let runs = 0
  return {
    feed: async () => {
      runs += 1
      const stores = Array.from({ length: rounds }, (_, round) =>
        createStore(pipeline.redis, {
          keyPrefix: `${pipeline.keyPrefix}feeder-${runs}-${round}:`,
          topic: 't',
          projection: 1,
        }),
      )
      const calls: Promise<unknown>[] = []
      const startedAt = performance.now()
      const cpuBefore = process.cpuUsage()
      for (const store of stores)
        for (let start = 0; start < customers.length; start += CUSTOMERS_PER_CALL) {
          // Use another partition in each call. Otherwise a call would wait until the previous call
          // has moved the position.
          const call = start / CUSTOMERS_PER_CALL
          calls.push(store.applyChunk(customers.slice(start, start + CUSTOMERS_PER_CALL), call, undefined, '1'))
          if (calls.length >= CALLS_IN_FLIGHT) await calls.shift()
        }
      await Promise.all(calls)
      const seconds = (performance.now() - startedAt) / 1000
      const { user, system } = process.cpuUsage(cpuBefore)
      const written = customers.length * rounds
      return {
        'events per second': written / seconds,
        'CPU µs per event': (user + system) / written,
        'resident MB': 0,
      }
    },
    close: () => pipeline.close(),
  }
}
