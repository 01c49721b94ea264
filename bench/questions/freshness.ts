import { waitUntil } from '@customer-stream/runtime'
import { customerKey } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, type Pipeline } from '@customer-stream/testing'
import { openBareLoop, PARTITIONS } from '../loads/bare-loop.ts'
import { openHttpSender, requestOf } from '../loads/http-sender.ts'
import { clockMs, openLoop } from '../loads/open-loop.ts'
import { alternate, latencyOf, percentile } from '../report/measure.ts'
import { type Question, ratioLine } from './question.ts'

const TARGETS = { 'p50 ms': 1.5, 'p99 ms': 2 } as const
const PER_SECOND = 1000
const OURS = 'POST to hash at 1 000 events/s'
const BARE = 'bare loop at 1 000 events/s'

/** Watches the writes of customers' hashes by Redis' keyspace notifications. */
const watchHashes = async (pipeline: Pipeline, redisUrl: string) => {
  const dueAt = new Map<string, number>()
  const times: number[] = []
  const subscriber = await pipeline.connectRedis(redisUrl)
  await pipeline.redis.config('SET', 'notify-keyspace-events', 'Kh')
  await subscriber.psubscribe(`__keyspace@*__:${pipeline.keyPrefix}customer:*`)
  subscriber.on('pmessage', (_pattern: string, channel: string) => {
    const key = channel.slice(channel.indexOf(':') + 1)
    const startedAt = dueAt.get(key)
    if (startedAt === undefined || !dueAt.delete(key)) return
    times.push(clockMs() - startedAt)
  })
  return {
    expect: (customerUuid: string, at: number) => dueAt.set(customerKey(customerUuid, pipeline.keyPrefix), at),
    untilAllSeen: () =>
      waitUntil(
        'every hash is visible',
        async () => dueAt.size,
        (open) => open === 0,
        { timeoutMs: 30_000 },
      ),
    takeTimes: () => times.splice(0),
    close: async () => {
      await pipeline.redis.config('SET', 'notify-keyspace-events', '')
      subscriber.disconnect()
    },
  }
}

const startServices = async (pipeline: Pipeline) => {
  const ingress = await pipeline.start('ingress', { KAFKA_PARTITIONS: String(PARTITIONS) })
  const projector = await pipeline.start('projector', { KAFKA_PARTITIONS: String(PARTITIONS) })
  await Promise.all([ingress.untilReady(), projector.untilReady()])
  return ingress
}

export const freshness: Question = {
  name: 'freshness',
  title: 'How long until a reader sees an event',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    const hashes = await watchHashes(pipeline, bench.brokers.redisUrl)
    const ingress = await startServices(pipeline)
    const bareLoop = await openBareLoop(bench, pipeline)
    const senders = { [OURS]: openHttpSender(ingress.url), [BARE]: openHttpSender(bareLoop.url) }
    const steadily = (loop: typeof OURS | typeof BARE, seconds: number) => async () => {
      const events = Array.from({ length: seconds * PER_SECOND }, () => {
        const { body, customerUuid } = makeCustomersEvent()
        return { customerUuid, request: requestOf(pipeline, body) }
      })
      const lateMs = await openLoop({ perSecond: PER_SECOND, seconds }, (i, dueAt) => {
        const { customerUuid, request } = events[i]!
        hashes.expect(customerUuid, dueAt)
        return senders[loop].send(request)
      })
      await hashes.untilAllSeen()
      const times = hashes.takeTimes()
      return { ...latencyOf(times), 'p99.9 ms': percentile(times, 0.999), 'started late, p99 ms': lateMs }
    }
    const measured = Math.max(3, Math.round(15 * bench.scale))
    try {
      for (const loop of [OURS, BARE] as const) await steadily(loop, 3)()
      const readings = await alternate(5, { [OURS]: steadily(OURS, measured), [BARE]: steadily(BARE, measured) })
      const lines = (['p50 ms', 'p99 ms'] as const).map((name) =>
        ratioLine({
          what: `freshness, POST to hash visible, at 1 000 events/s, ${name.slice(0, 3)}`,
          figure: readings[OURS]![name],
          base: readings[BARE]![name],
          baseName: 'bare loop',
          atMost: TARGETS[name],
          unit: 'ms',
        }),
      )
      return {
        lines,
        readings,
        notes: [
          'Every event has a different customer. An open loop starts the requests. Each time counts from the ' +
            'intended start until Redis’ keyspace message for the hash.',
          'The bare loop is the simplest program with the same purpose, in two processes. A fastify handler has HMAC ' +
            'and two parses, and awaits one kafkajs send (`acks=all`) for each body. A kafkajs consumer reads all ' +
            'partitions at the same time, and makes one HSET for each record. The consumer batches nothing, ' +
            'compares no versions and keeps no positions.',
        ],
      }
    } finally {
      for (const sender of Object.values(senders)) sender.close()
      await bareLoop.close()
      await hashes.close()
      await pipeline.close()
    }
  },
}
