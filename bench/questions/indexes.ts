import { positionField, positionsKey } from '@customer-stream/schemas'
import { openPipeline, type Pipeline } from '@customer-stream/testing'
import { customersInRedis } from '@customer-stream/verify'
import { catchUp } from '../loads/catch-up.ts'
import { fillTopic } from '../loads/fill-topic.ts'
import { alternate } from '../report/measure.ts'
import type { Line, Question } from './question.ts'

const SHARE_OF_FIRST_LOAD = 0.6
const SHARE_OF_UPDATES = 0.9
const PARTITIONS = 12
const VARIANTS = { 'all indexes': {}, 'no indexes': { INDEXES: 'none' } }
type Variant = keyof typeof VARIANTS
const BYTES = 'Redis bytes per customer'

const usedMemory = async ({ redis }: Pipeline) => Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1])

/** Calls `change` for each customer in Redis. */
const eachCustomer = async ({ redis }: Pipeline, prefix: string, change: (key: string) => Promise<unknown>) => {
  let pending: Promise<unknown>[] = []
  for await (const customerUuid of customersInRedis(redis, prefix)) {
    pending.push(change(`${prefix}customer:{${customerUuid}}`))
    if (pending.length < 1000) continue
    await Promise.all(pending)
    pending = []
  }
  await Promise.all(pending)
}

/**
 * Makes each event of the topic an update: all hashes become older than their events, and the
 * positions are deleted. The index terms stay.
 */
const outdate = async (pipeline: Pipeline, prefix: string) => {
  await eachCustomer(pipeline, prefix, (key) => pipeline.redis.hset(key, '_eventTimestamp', '1'))
  const fields = Array.from({ length: PARTITIONS }, (_, i) => positionField(pipeline.topics.customers, i))
  await pipeline.redis.hdel(positionsKey(1, prefix), ...fields)
}

const removeKeys = async ({ redis }: Pipeline, prefix: string) => {
  for (let cursor = '0', isDone = false; !isDone; isDone = cursor === '0') {
    const [next, keys] = await redis.scan(cursor, 'MATCH', `${prefix}*`, 'COUNT', 1000)
    if (keys.length > 0) await redis.unlink(...keys)
    cursor = next
  }
}

export const indexes: Question = {
  name: 'indexes',
  title: 'What the indexes cost the projector and Redis',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    try {
      const events = Math.round(100_000 * bench.scale)
      await fillTopic(bench, pipeline, { events, customers: events, partitions: PARTITIONS, hasOwnTerms: true })
      let runs = 0
      const load = (variant: Variant) => async () => {
        runs += 1
        const keyPrefix = `${pipeline.keyPrefix}indexes-${runs}:`
        // No lookahead: each customer has one event, so reading ahead would only delay the first
        // event.
        const env = { ...VARIANTS[variant], KAFKA_STATE_TOPIC: 'false', LOOKAHEAD_RECORDS: '0' }
        const before = await usedMemory(pipeline)
        const first = await catchUp(pipeline, { keyPrefix, env })
        const bytes = ((await usedMemory(pipeline)) - before) / events
        await outdate(pipeline, keyPrefix)
        const updates = await catchUp(pipeline, { keyPrefix, env })
        await removeKeys(pipeline, keyPrefix)
        return {
          'first load, events per second': first['events per second'],
          'first load, CPU µs per event': first['CPU µs per event'],
          'updates, events per second': updates['events per second'],
          'updates, CPU µs per event': updates['CPU µs per event'],
          [BYTES]: bytes,
        } as const
      }
      const [withAll, without] = [load('all indexes'), load('no indexes')]
      await without()
      const readings = await alternate(3, { 'all indexes': withAll, 'no indexes': without })
      const lineOf = (what: 'first load' | 'updates', share: number, title: string): Line => {
        const [own, base] = [readings['all indexes'], readings['no indexes']].map(
          (reading) => reading[`${what}, events per second`].median,
        ) as [number, number]
        return {
          what: `projector with all indexes, ${title}`,
          target: `≥ ${share * 100} % of its rate without indexes`,
          figure: `${((own / base) * 100).toFixed(0)} % (${own.toFixed(0)} events/s of ${base.toFixed(0)})`,
          met: own / base >= share,
        }
      }
      return {
        lines: [
          lineOf('first load', SHARE_OF_FIRST_LOAD, 'first load'),
          lineOf('updates', SHARE_OF_UPDATES, 'updates that change no term'),
        ],
        readings,
        notes: [
          'Each event has a different customer of 50 dealers, with its own phone numbers, e-mails and VINs. ' +
            'For the updates, all hashes are made older than their events. Both variants run without the state ' +
            'topic, because its publication would hide a part of the cost.',
          '**What the indexes cost**: the projector computes the terms of each event, and sends them to Redis. ' +
            'Each update also changes the score of the customer in the index of its dealer. A first load adds ' +
            'about five entries.',
        ],
      }
    } finally {
      await pipeline.close()
    }
  },
}
