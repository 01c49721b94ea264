import { waitUntil } from '@customer-stream/runtime'
import { readWatermarks } from '@customer-stream/runtime/kafka'
import { positionField } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, openTcpProxy, type TcpProxy } from '@customer-stream/testing'
import { blocked, type Scenario } from './scenario.ts'
import type { Site } from './site.ts'

const proxies = new WeakMap<Site, TcpProxy>()
const transactions = new WeakMap<Site, () => Promise<void>>()

/**
 * Writes customers events into every partition, as another application would, in one transaction
 * that stays open.
 */
const openTransaction = async (site: Site) => {
  const producer = kafkajsOf(site.kafka).producer({
    transactionalId: site.group,
    maxInFlightRequests: 1,
    idempotent: true,
  })
  await producer.connect()
  site.onClose(() => producer.disconnect())
  const transaction = await producer.transaction()
  for (let partition = 0; partition < site.partitions; partition++)
    await transaction.send({
      topic: site.topics.customers,
      messages: [{ partition, key: 'x', value: makeCustomersEvent().body }],
    })
  return transaction
}

/**
 * Returns the number of records that are not applied, by partition. Undefined for a partition whose
 * leader does not answer.
 */
const lagOf = async (site: Site): Promise<(number | undefined)[]> => {
  const [marks, positions] = await Promise.all([
    readWatermarks(site.admin, site.topics.customers),
    site.redis.hgetall(site.positionsKey),
  ])
  return Array.from({ length: site.partitions }, (_, partition) => {
    const end = marks.get(partition)?.high
    const position = positions[positionField(site.topics.customers, partition)] ?? 0
    return end === undefined ? undefined : Number(end) - Number(position)
  })
}

/**
 * Resolves when all positions in Redis are at the ends of their partitions. Each movement restarts
 * the time limit, because the speed of the machine is not tested.
 */
const untilAtEnd = async (site: Site): Promise<void> => {
  let lag = await lagOf(site)
  while (lag.some((count) => count !== 0))
    lag = await waitUntil(
      'a position has moved',
      () => lagOf(site),
      (next) => next.some((count, partition) => count !== lag[partition]),
      { pauseMs: 200 },
    )
}

const storeUnusable = async (site: Site, partition: number): Promise<void> => {
  const producer = kafkajsOf(site.kafka).producer()
  await producer.connect()
  await producer.send({ topic: site.topics.customers, messages: [{ partition, key: 'x', value: 'not json' }] })
  await producer.disconnect()
}

const EVENTS_PER_PARTITION = 40

export const records: readonly Scenario[] = [
  {
    // The scenarios run at the same time. This scenario takes longest, so it starts first. A fetch
    // of 64 KiB has the records of one or two partitions, so most partitions wait for minutes.
    name: 'a projector that catches up on 48 partitions with a slow Redis is not ended',
    options: {
      partitions: 48,
      env: () => ({
        projector: { CONSUMER_SESSION_TIMEOUT_MS: '6000', CONSUMER_FETCH_MAX_BYTES: '65536', CHUNK_RECORDS: '5' },
      }),
    },
    quiet: true,
    break: async (site) => {
      await site.projector.stop()
      const events = Array.from({ length: EVENTS_PER_PARTITION * site.partitions }, () => makeCustomersEvent())
      for (let partition = 0; partition < site.partitions; partition++)
        await site.produce(
          events.slice(EVENTS_PER_PARTITION * partition, EVENTS_PER_PARTITION * (partition + 1)),
          partition,
        )
      const url = new URL(site.envOf('projector').REDIS_URL!)
      const proxy = await openTcpProxy({ host: url.hostname, port: Number(url.port) })
      site.onClose(() => proxy.close())
      proxies.set(site, proxy)
      url.port = String(proxy.port)
      site.projector.configure({ REDIS_URL: url.href })
      await site.projector.start()
      await waitUntil(
        'the projector has begun to apply records',
        async () => (await site.notApplied(events)).length,
        (missing) => missing < events.length,
      )
      proxy.set({ delayMs: 250 })
      const since = performance.now()
      await waitUntil(
        'the time after which a watchdog would have ended the projector has passed',
        () => ({ ms: performance.now() - since, ended: site.projector.ended }),
        ({ ms, ended }) => ended > 0 || ms > 45_000,
        { timeoutMs: 60_000, pauseMs: 500 },
      )
      proxy.set('open')
      await untilAtEnd(site)
    },
  },
  {
    name: 'records of every codec are read',
    atStart: true,
    break: async (site) => {
      for (const codec of ['lz4', 'snappy', 'zstd', 'gzip']) {
        // The broker compresses the records.
        await site.changeTopic('customers', { 'compression.type': codec })
        await site.produce(Array.from({ length: 30 }, () => makeCustomersEvent()))
      }
      await site.changeTopic('customers', {})
    },
  },
  {
    name: 'every partition ends with an aborted transaction of another producer',
    options: { env: () => ({ projector: { CONSUMER_SESSION_TIMEOUT_MS: '6000' } }) },
    quiet: true,
    break: async (site) => {
      const transaction = await openTransaction(site)
      await transaction.abort()
      await untilAtEnd(site)
    },
  },
  {
    name: 'every partition has an open transaction of another producer, which hides all later records',
    break: async (site) => {
      const transaction = await openTransaction(site)
      transactions.set(site, () => transaction.abort())
    },
    symptoms: [
      {
        anyOf: [
          { of: 'projector', says: [/transaction/] },
          { of: 'projector', metric: /^kafka_consumergroup_lag$/ },
          { of: 'projector', metric: /transaction/ },
        ],
      },
    ],
    repair: async (site) => transactions.get(site)?.(),
  },
  {
    name: 'an unusable record that cannot go to quarantine delays only its own partition',
    break: async (site) => {
      await site.revoke('projector', 'WRITE', 'quarantine')
      await storeUnusable(site, 0)
    },
    quiet: true,
    symptoms: [{ of: 'projector', says: [/quarantine/, /\bWRITE\b/] }, blocked('projector')],
    holds: async (site) => {
      for (let partition = 1; partition < site.partitions; partition++)
        await site.produce([makeCustomersEvent()], partition)
      await site.untilApplied()
    },
    repair: (site) => site.grant('projector', 'WRITE', 'quarantine'),
  },
  {
    name: 'an ingress without WRITE on quarantine gets an unusable body',
    break: async (site) => {
      await site.revoke('ingress', 'WRITE', 'quarantine')
      await site.postBody('not json')
    },
    symptoms: [{ of: 'ingress', says: [/quarantine/, /\bWRITE\b/] }, blocked('ingress')],
    repair: (site) => site.grant('ingress', 'WRITE', 'quarantine'),
  },
]
