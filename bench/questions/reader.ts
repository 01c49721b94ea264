import { customerKey, customerToHash, indexKey, parseEvent, positionsKey } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, type Pipeline } from '@customer-stream/testing'
import { startBare } from '../loads/bare-process.ts'
import { openHttpSender } from '../loads/http-sender.ts'
import { clockMs, openLoop } from '../loads/open-loop.ts'
import { alternate, cpuSeconds, latencyOf } from '../report/measure.ts'
import { type Question, ratioLine } from './question.ts'

const CUSTOMERS = 1_000_000
const CONNECTIONS = 64
const SEARCHES_PER_SECOND = 200
const TARGETS = { timesHgetall: 2, perCoreSecond: 5000, 'p99 ms': 10 } as const
const READER = 'reader, one customer, masked'
const REVEALED = 'reader, one customer, revealed'
const HGETALL = 'HGETALL through ioredis'
const BARE = 'bare fastify with one HGETALL'
const LOAD = `reader, ${CONNECTIONS} connections, masked`
const REVEALED_LOAD = `reader, ${CONNECTIONS} connections, revealed`

const phoneOf = (i: number): string => `+1310${String(2_000_000 + i)}`

/** Stores a whole simulated customer, and many small customers with a phone number each. */
const fill = async ({ redis, keyPrefix }: Pipeline, count: number) => {
  const event = parseEvent(Buffer.from(makeCustomersEvent({ customerUuid: 'whole' }).body))
  if (!event.ok || event.value.kind !== 'customers') throw new Error('not a customers event')
  const place = { topic: 'raw', partition: 0, offset: '0', receivedAt: 1, appliedAt: 2, projection: 1 }
  const whole = customerToHash(event.value, place)
  if (!whole.ok) throw new Error(whole.detail)
  await redis.hset(customerKey('whole', keyPrefix), ...whole.value.fieldsAndValues)
  await redis.hset(positionsKey(1, keyPrefix), { 'raw/0': '1', 'raw/indexes': 'phone/US' })
  for (let from = 0; from < count; from += 1000) {
    const batch = redis.pipeline()
    for (let i = from; i < Math.min(from + 1000, count); i++) {
      const [customerUuid, phone] = [`c${i}`, phoneOf(i)]
      batch.hset(customerKey(customerUuid, keyPrefix), {
        customerUuid,
        dealerUuid: 'd',
        phoneNumbers: JSON.stringify([{ phoneNumber: phone }]),
        _eventId: 'e',
        _eventTimestamp: 7,
        _receivedAt: 8,
        _appliedAt: 9,
        _source: 'raw/0/0',
        _projection: 1,
        _index: JSON.stringify([`phone:${phone}`]),
      })
      batch.zadd(indexKey(`phone:${phone}`, keyPrefix), 7, customerUuid)
    }
    await batch.exec()
  }
}

const headersOf = (key: 'masked' | 'full') => `host: 127.0.0.1\r\nauthorization: Bearer ${key}-api-key\r\n`
const getWhole = (key: 'masked' | 'full') => Buffer.from(`GET /v1/customers/whole HTTP/1.1\r\n${headersOf(key)}\r\n`)
const [getMasked, getRevealed] = [getWhole('masked'), getWhole('full')]
const searchOf = (phone: string): Buffer => {
  const body = JSON.stringify({ phone })
  const type = `content-type: application/json\r\ncontent-length: ${body.length}`
  return Buffer.from(`POST /v1/customers/search HTTP/1.1\r\n${headersOf('masked')}${type}\r\n\r\n${body}`)
}

/** Makes the calls one after the other. */
const oneByOne = (calls: number, call: () => Promise<unknown>) => async () => {
  const times: number[] = []
  for (let i = 0; i < calls; i++) {
    const startedAt = performance.now()
    await call()
    times.push(performance.now() - startedAt)
  }
  return latencyOf(times)
}

export const reader: Question = {
  name: 'reader',
  title: 'How fast the reader answers',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    const { redis, keyPrefix } = pipeline
    const customers = Math.max(10_000, Math.round(CUSTOMERS * bench.scale))
    await fill(pipeline, customers)
    const service = await pipeline.start('reader', { READER_MAX_RATE: '1000000' })
    await service.untilReady()
    const bare = await startBare('bare-reader', pipeline, {
      REDIS_URL: bench.brokers.redisUrl,
      KEY: customerKey('whole', keyPrefix),
    })
    const [sender, bareSender] = [openHttpSender(service.url), openHttpSender(bare.line)]
    const calls = Math.round(5000 * Math.max(bench.scale, 0.2))
    const underLoad = (request: Buffer) => async () => {
      const [startedAt, cpuBefore] = [performance.now(), cpuSeconds(service.pid)]
      const client = async () => {
        for (let i = 0; i < calls / 10; i++) await sender.send(request)
      }
      await Promise.all(Array.from({ length: CONNECTIONS }, client))
      const requests = CONNECTIONS * (calls / 10)
      return {
        'requests per core-second': requests / (cpuSeconds(service.pid) - cpuBefore),
        'requests per second': requests / ((performance.now() - startedAt) / 1000),
      }
    }
    const searches = async () => {
      const times: number[] = []
      const pace = { perSecond: SEARCHES_PER_SECOND, seconds: Math.max(3, Math.round(10 * bench.scale)) }
      await openLoop(pace, async (i, dueAt) => {
        await sender.send(searchOf(phoneOf((i * 7919) % customers)))
        times.push(clockMs() - dueAt)
      })
      return latencyOf(times)
    }
    const SEARCH = `search by phone among ${customers} customers`
    try {
      for (const warmUp of [underLoad(getMasked), underLoad(getRevealed), searches]) await warmUp()
      const alone = await alternate(5, {
        [READER]: oneByOne(calls, () => sender.send(getMasked)),
        [REVEALED]: oneByOne(calls, () => sender.send(getRevealed)),
        [BARE]: oneByOne(calls, () => bareSender.send(getMasked)),
        [HGETALL]: oneByOne(calls, () => redis.hgetall(customerKey('whole', keyPrefix))),
      })
      const load = await alternate(5, { [LOAD]: underLoad(getMasked), [REVEALED_LOAD]: underLoad(getRevealed) })
      const found = await alternate(3, { [SEARCH]: searches })
      const perCore = load[LOAD]!['requests per core-second'].median
      const p99 = found[SEARCH]!['p99 ms'].median
      return {
        lines: [
          ratioLine({
            what: 'reader, one customer, p50',
            figure: alone[READER]!['p50 ms'],
            base: alone[HGETALL]!['p50 ms'],
            baseName: HGETALL,
            atMost: TARGETS.timesHgetall,
            unit: 'ms',
          }),
          {
            what: `reader, requests per second of one core, ${CONNECTIONS} connections`,
            target: `≥ ${TARGETS.perCoreSecond}`,
            figure: perCore.toFixed(0),
            met: perCore >= TARGETS.perCoreSecond,
          },
          {
            what: `reader, ${SEARCH}, p99`,
            target: `≤ ${TARGETS['p99 ms']} ms`,
            figure: `${p99.toFixed(2)} ms`,
            met: p99 <= TARGETS['p99 ms'],
          },
        ],
        readings: { ...alone, ...load, ...found },
        notes: [
          'One customer: one client makes its calls one after the other. The second figure divides the requests by ' +
            'the CPU time of the reader, user and system. Redis and the client use the other core. Each revealed ' +
            'answer also writes a line to the log.',
          `Searches: an open loop starts ${SEARCHES_PER_SECOND} searches a second, each for another phone number. ` +
            'Each time counts from the intended start.',
        ],
      }
    } finally {
      sender.close()
      bareSender.close()
      await bare.end()
      await pipeline.close()
    }
  },
}
