import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { fetchEnds, readTopic } from '@customer-stream/runtime/kafka'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { freshNames, openPipeline, type Pipeline, type ServiceProcess, spawnService } from '@customer-stream/testing'
import { startRedis } from '@customer-stream/testing/vitest'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'

let pipeline: Pipeline
beforeEach(async () => {
  pipeline = await openPipeline(inject('brokers'))
})
afterEach(() => pipeline.close())

const NOBODY = '127.0.0.1:1'
const auth = { MYKAARMA_SIGNING_SECRETS: 'a=s', MYKAARMA_TOKENS: 'a=t' }
const post = (ingress: ServiceProcess, body = makeCustomersEvent().body) => pipeline.post(ingress, body)
const readiness = async (service: ServiceProcess) => {
  const answer = await fetch(`${service.adminUrl}/readyz`)
  return { status: answer.status, body: await answer.text() }
}
const end = async (name: 'ingress' | 'projector', env: Record<string, string>) => {
  const logFile = join(pipeline.folder, 'end.log')
  const service = spawnService(name, env, logFile)
  return { code: await service.ended, said: await readFile(logFile, 'utf8') }
}

describe('settings at start', () => {
  it('a service names all missing and wrong settings together and exits with 2', async () => {
    const { code, said } = await end('ingress', {
      KAFKA_BROKERS: '',
      KAFKA_BROKER: 'a:1',
      PORT: 'http',
      MYKAARMA_SIGNING_SECRETS: 'x',
    })
    expect(code).toBe(2)
    expect(said).toContain('ingress cannot start. 5 settings are wrong')
    for (const name of [
      'KAFKA_BROKERS is missing',
      'the nearest is KAFKA_BROKERS',
      'PORT:',
      'MYKAARMA_SIGNING_SECRETS:',
      'MYKAARMA_TOKENS is missing',
    ])
      expect(said).toContain(name)
  })

  it('the ingress refuses to start without secrets unless MYKAARMA_AUTH=off', async () => {
    const { code, said } = await end('ingress', { KAFKA_BROKERS: NOBODY })
    expect([code, said]).toEqual([2, expect.stringContaining('MYKAARMA_AUTH=off')])
    expect(said).toContain('MYKAARMA_SIGNING_SECRETS is missing')
    expect(said).toContain('MYKAARMA_TOKENS is missing')
  })

  it('an error about a secret does not show the secret', async () => {
    const { code, said } = await end('projector', { KAFKA_BROKERS: NOBODY, REDIS_URL: 'not-a-url:hunter2' })
    expect([code, said]).toEqual([2, expect.not.stringContaining('hunter2')])
  })
})

describe('topics at start', () => {
  it('a service ends if topics are wrong, or missing and may not be created', async () => {
    const env = {
      ...auth,
      KAFKA_BROKERS: inject('brokers').kafkaBrokers.join(','),
      KAFKA_TOPIC_PREFIX: pipeline.topics.customers.replace('customers.raw', ''),
    }
    const missing = await end('ingress', env)
    expect([missing.code, missing.said]).toEqual([
      1,
      expect.stringContaining(`Topics are missing: ${pipeline.topics.customers}`),
    ])
    await pipeline.administrator.createTopics({
      waitForLeaders: false,
      topics: [
        {
          topic: pipeline.topics.customers,
          numPartitions: 3,
          configEntries: [{ name: 'cleanup.policy', value: 'compact' }],
        },
      ],
    })
    await fetchEnds(pipeline.admin, pipeline.topics.customers)
    const wrong = await end('ingress', { ...env, KAFKA_CREATE_TOPICS: 'true', KAFKA_REPLICATION_FACTOR: '1' })
    expect(wrong.code).toBe(1)
    for (const fault of [
      'has 3 partitions, KAFKA_PARTITIONS says 12',
      'cleanup.policy is compact',
      'retention.ms is',
      'max.message.bytes is',
    ])
      expect(wrong.said).toContain(fault)
  })

  // The test runs four times, because the topic check asks a random broker.
  it.each([1, 2, 3, 4])('a projector that starts alone creates the missing topics (%i)', async () => {
    const projector = await pipeline.start('projector')
    await projector.untilReady()
  })
})

describe('without Kafka or Redis at start', () => {
  it('without Kafka the ingress is not ready, answers 503 in time, and stops cleanly', async () => {
    const ingress = await pipeline.start('ingress', { KAFKA_BROKERS: NOBODY, ACCEPT_DEADLINE_MS: '500' })
    expect(await readiness(ingress)).toEqual({ status: 503, body: expect.stringContaining('not connected yet') })
    expect((await fetch(`${ingress.adminUrl}/livez`)).status).toBe(200)
    const answer = await post(ingress)
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5'])
    await waitUntil(
      'no record is buffered any more',
      () => ingress.metric('ingress_queue_records'),
      (records) => records === 0,
    )
    await waitUntil(
      'the log says that the service retries',
      () => readFile(ingress.logFile, 'utf8'),
      (log) => log.includes('The service keeps trying.'),
    )
    expect(await ingress.end()).toBe(0)
  })

  it('without Kafka and Redis a projector waits, and stops cleanly', async () => {
    const projector = await pipeline.start('projector', { REDIS_URL: `redis://${NOBODY}` })
    expect((await readiness(projector)).status).toBe(503)
    await waitUntil(
      'the log says that the service retries',
      () => readFile(projector.logFile, 'utf8'),
      (log) => log.includes('the service keeps trying'),
    )
    expect(await projector.end()).toBe(0)
  })
})

describe('outages of Redis', () => {
  const customers = 20
  const send = async (ingress: ServiceProcess, timestamp: number) => {
    for (let i = 0; i < customers; i++) {
      const answer = await post(
        ingress,
        makeCustomersEvent({ customerUuid: `c${i}`, timestamp, id: `e${timestamp}` }).body,
      )
      expect(answer.status).toBe(202)
    }
  }

  it('a projector rebuilds an emptied Redis without new events', async () => {
    const server = await startRedis()
    const redis = await pipeline.connectRedis(server.url)
    try {
      const ingress = await pipeline.start('ingress')
      await ingress.untilReady()
      const projector = await pipeline.start('projector', { REDIS_URL: server.url, POSITION_CHECK_MS: '200' })
      await projector.untilReady()
      await send(ingress, 1)
      await waitUntil(
        'all are there',
        () => redis.keys('*customer:*'),
        (keys) => keys.length === customers,
      )
      await redis.flushall()
      await waitUntil(
        'Redis has all customers again',
        () => redis.keys('*customer:*'),
        (keys) => keys.length === customers,
      )
      expect(await projector.metric('projector_rewinds_total')).toBeGreaterThan(0)
    } finally {
      redis.disconnect()
      await server.stop()
    }
  })

  it('a projector waits for a hanging Redis, stays in its group, and continues', async () => {
    const server = await startRedis()
    const redis = await pipeline.connectRedis(server.url)
    try {
      const ingress = await pipeline.start('ingress')
      await ingress.untilReady()
      const { groupId } = freshNames()
      const projector = await pipeline.start('projector', {
        REDIS_URL: server.url,
        REDIS_COMMAND_TIMEOUT_MS: '500',
        CONSUMER_SESSION_TIMEOUT_MS: '6000',
        CONSUMER_GROUP_ID: groupId,
      })
      await projector.untilReady()
      await send(ingress, 1)
      await waitUntil(
        'all are there',
        () => redis.keys('*customer:*'),
        (keys) => keys.length === customers,
      )
      await server.pause()
      await send(ingress, 2)
      await waitUntil(
        'the projector has tried to reach Redis',
        () => projector.metric('projector_failures_total', { operation: 'Redis' }),
        (failures) => failures > 0,
      )
      const since = performance.now()
      await waitUntil(
        'the session timeout has passed, after which Kafka removes a silent member',
        () => performance.now() - since,
        (ms) => ms > 8000,
      )
      expect((await pipeline.administrator.describeGroups([groupId])).groups).toMatchObject([
        { state: 'Stable', members: [{}] },
      ])
      expect(await readiness(projector)).toEqual({ status: 503, body: expect.stringContaining('waiting for Redis') })
      const joinsBefore = (await readFile(projector.logFile, 'utf8')).split('joined the consumer group').length
      await server.resume()
      await waitUntil(
        'Redis has the newest events',
        () => redis.hget(`${pipeline.keyPrefix}customer:{c0}`, '_eventTimestamp'),
        (timestamp) => timestamp === '2',
      )
      await waitUntil(
        'the projector is ready again',
        () => readiness(projector),
        ({ status }) => status === 200,
      )
      expect((await readFile(projector.logFile, 'utf8')).split('joined the consumer group').length).toBe(joinsBefore)
    } finally {
      redis.disconnect()
      await server.stop()
    }
  })
})

describe('the spool', () => {
  it('the ingress with a spool acknowledges events without Kafka, and sends these events after a SIGKILL', async () => {
    const spool = { SPOOL_DIR: join(pipeline.folder, 'spool'), SPOOL_AFTER_MS: '200' }
    const alone = await pipeline.start('ingress', { ...spool, KAFKA_BROKERS: NOBODY })
    expect(await readiness(alone)).toEqual({ status: 200, body: expect.stringContaining('not connected yet') })
    const events = Array.from({ length: 20 }, () => makeCustomersEvent())
    for (const { body } of events) expect((await post(alone, body)).status).toBe(202)
    expect(await alone.metric('ingress_spool_records')).toBe(events.length)
    alone.signal('SIGKILL')
    await alone.ended

    const [ingress, projector] = await Promise.all([pipeline.start('ingress', spool), pipeline.start('projector')])
    await Promise.all([ingress.untilReady(), projector.untilReady()])
    await waitUntil(
      'the spool is empty',
      () => ingress.metric('ingress_spool_bytes'),
      (records) => records === 0,
    )
    const seen = new Set<string>()
    await readTopic(pipeline.admin, pipeline.topics.customers, ({ value }) => seen.add(String(value)))
    expect(events.filter(({ body }) => !seen.has(body))).toEqual([])
    expect((await pipeline.verify()).wrong).toEqual([])
    expect((await post(ingress)).status).toBe(202)
    expect(await ingress.metric('ingress_published_total', { outcome: 'stored' })).toBe(1)
    expect(await ingress.end()).toBe(0)
  })

  it('a second process cannot use the spool of a running ingress', async () => {
    const env = { SPOOL_DIR: join(pipeline.folder, 'spool'), KAFKA_BROKERS: NOBODY }
    await pipeline.start('ingress', env)
    const { code, said } = await end('ingress', { ...env, ...auth })
    expect([code, said]).toEqual([2, expect.stringContaining('SPOOL_DIR')])
  })
})

describe('stopping', () => {
  it('a shutdown does not wait for silent, stalled or idle connections', async () => {
    const ingress = await pipeline.start('ingress', { ACCEPT_DEADLINE_MS: '1000' })
    await ingress.untilReady()
    const { hostname, port } = new URL(ingress.url)
    const sockets = [
      '',
      'POST /webhooks/mykaarma HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\nhalf',
    ].map((text) => {
      const socket = connect(Number(port), hostname)
      socket.on('error', () => undefined)
      socket.write(text)
      return socket
    })
    expect((await post(ingress)).status).toBe(202)
    expect(await ingress.end()).toBe(0)
    expect(await readFile(ingress.logFile, 'utf8')).toContain('"msg":"stopped"')
    for (const socket of sockets) socket.destroy()
  })
})

describe('broken topics', () => {
  it('a broken quarantine topic does not delay valid customers', async () => {
    const ingress = await pipeline.start('ingress', { ACCEPT_DEADLINE_MS: '2000' })
    await ingress.untilReady()
    // Send a record to quarantine first. kafkajs requests metadata only for topics to which it has
    // written.
    expect((await post(ingress, 'not json')).status).toBe(400)
    await pipeline.administrator.deleteTopics({ topics: [pipeline.topics.quarantine] })
    // A broker may accept records for a deleted topic until it learns of the deletion.
    await waitUntil(
      'no record can be sent to quarantine any more',
      async () => (await post(ingress, 'not json')).status,
      (status) => status === 503,
    )
    // The metadata of kafkajs expires during this test, while records for quarantine are in flight.
    // In this state kafkajs fails for all topics of a client.
    for (let i = 0; i < 2; i++) {
      const unusable = post(ingress, 'not json')
      for (let j = 0; j < 10; j++) expect((await post(ingress)).status).toBe(202)
      expect((await unusable).status).toBe(503)
      expect((await post(ingress)).status).toBe(202)
    }
  })
})

describe('eviction', () => {
  it('a Redis that may evict keys is refused at start unless REDIS_ALLOW_EVICTION is set', async () => {
    const server = await startRedis({ args: ['--maxmemory-policy', 'allkeys-lru'] })
    try {
      const ingress = await pipeline.start('ingress')
      await ingress.untilReady()
      const refused = await pipeline.start('projector', { REDIS_URL: server.url })
      const fate = refused.untilReady().then(
        () => 'ready',
        () => refused.ended,
      )
      expect(await fate).toBe(1)
      expect(await readFile(refused.logFile, 'utf8')).toContain('maxmemory-policy is allkeys-lru')
      const accepted = await pipeline.start('projector', { REDIS_URL: server.url, REDIS_ALLOW_EVICTION: 'true' })
      await accepted.untilReady()
    } finally {
      await server.stop()
    }
  })
})
