import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '@customer-stream/runtime'
import { customerKey } from '@customer-stream/schemas'
import { makeCustomersEvent, sign } from '@customer-stream/simulator'
import { openPipeline, type Pipeline } from '@customer-stream/testing'
import { alternate } from '../report/measure.ts'
import type { Question } from './question.ts'

const TARGET_MS = 50
const PER_SECOND = 1000

/**
 * Freshness is the time from before the POST until Redis reports by keyspace notification that the
 * hash was written.
 */
const watchHashes = async (pipeline: Pipeline, redisUrl: string) => {
  const sentAt = new Map<string, number>()
  const times: number[] = []
  const subscriber = await pipeline.connectRedis(redisUrl)
  await pipeline.redis.config('SET', 'notify-keyspace-events', 'Kh')
  await subscriber.psubscribe(`__keyspace@*__:${pipeline.keyPrefix}customer:*`)
  subscriber.on('pmessage', (_pattern: string, channel: string) => {
    const key = channel.slice(channel.indexOf(':') + 1)
    const startedAt = sentAt.get(key)
    if (startedAt === undefined || !sentAt.delete(key)) return
    times.push(performance.now() - startedAt)
  })
  return {
    sent: (customerUuid: string) => sentAt.set(customerKey(customerUuid, pipeline.keyPrefix), performance.now()),
    untilAllSeen: () =>
      waitUntil(
        'every hash is visible',
        async () => sentAt.size,
        (open) => open === 0,
        { timeoutMs: 30_000 },
      ),
    takeTimes: () => times.splice(0).toSorted((a, b) => a - b),
    close: async () => {
      await pipeline.redis.config('SET', 'notify-keyspace-events', '')
      subscriber.disconnect()
    },
  }
}

export const freshness: Question = {
  name: 'freshness',
  title: 'How long until a reader sees an event',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    const agent = new Agent({ keepAlive: true, maxSockets: 64 })
    const hashes = await watchHashes(pipeline, bench.brokers.redisUrl)
    try {
      const [ingress, projector] = [await pipeline.start('ingress'), await pipeline.start('projector')]
      await Promise.all([ingress.untilReady(), projector.untilReady()])
      const post = (body: string) =>
        new Promise<void>((resolve, reject) => {
          const headers = {
            'content-type': 'text/plain',
            'content-length': Buffer.byteLength(body),
            'mykaarma-signature-token': sign(body, pipeline.secret),
            'x-authorization-token': pipeline.token,
          }
          const sent = request(`${ingress.url}/webhooks/mykaarma`, { method: 'POST', agent, headers }, (answer) => {
            answer
              .resume()
              .on('end', () =>
                answer.statusCode === 202 ? resolve() : reject(new Error(`answered ${answer.statusCode}`)),
              )
          })
          sent.on('error', reject).end(body)
        })
      const steadily = (seconds: number) => async () => {
        const answers: Promise<void>[] = []
        const startedAt = performance.now()
        for (let i = 0; i < seconds * PER_SECOND; i++) {
          const aheadMs = startedAt + (i / PER_SECOND) * 1000 - performance.now()
          if (aheadMs > 1) await sleep(aheadMs)
          const { body, customerUuid } = makeCustomersEvent()
          hashes.sent(customerUuid)
          answers.push(post(body))
        }
        await Promise.all(answers)
        await hashes.untilAllSeen()
        const times = hashes.takeTimes()
        const at = (share: number) => times[Math.floor((times.length - 1) * share)] ?? Number.NaN
        return { 'p50 ms': at(0.5), 'p99 ms': at(0.99), 'p99.9 ms': at(0.999), 'longest ms': at(1) }
      }
      await steadily(5)()
      const readings = await alternate(3, {
        'POST to hash at 1 000 events/s': steadily(Math.max(3, Math.round(20 * bench.scale))),
      })
      const p99 = readings['POST to hash at 1 000 events/s']['p99 ms'].median
      return {
        lines: [
          {
            what: 'freshness, POST to hash visible, at 1 000 events/s, p99',
            target: `≤ ${TARGET_MS} ms`,
            figure: `${p99.toFixed(1)} ms`,
            met: p99 <= TARGET_MS,
          },
        ],
        readings,
        notes: [
          'Every event is of a customer of its own. The end is Redis’ own keyspace message for the hash, ' +
            'received by the sender.',
        ],
      }
    } finally {
      await hashes.close()
      agent.destroy()
      await pipeline.close()
    }
  },
}
