import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogger, loadSettings } from '@customer-stream/runtime'
import { createAdmin, createKafka, fetchEnds, kafkaSettings } from '@customer-stream/runtime/kafka'
import { administratorOf } from '@customer-stream/runtime/kafkajs'
import { expect, it } from 'vitest'
import { startLocalKafka } from './local-kafka.ts'
import { startLocalRedis } from './local-redis.ts'
import { openRun } from './run.ts'

it('Kafka and Redis store data in their folders, whatever characters the path has', { timeout: 120_000 }, async () => {
  const root = mkdtempSync(join(tmpdir(), 'brokers-'))
  const run = await openRun(join(root, `Zoë, o'b "q" %41 #x: [é] 日本`))
  try {
    const [address] = await Promise.all([startLocalKafka(run, () => {}), startLocalRedis(run, () => {})])
    const kafka = createKafka(loadSettings(kafkaSettings, { KAFKA_BROKERS: address }), {
      clientId: 'odd-path',
      logger: createLogger('odd-path', 'silent'),
    })
    const admin = createAdmin(kafka)
    await admin.connect()
    await administratorOf(admin).createTopics({
      topics: [{ topic: 'written', numPartitions: 1 }],
      waitForLeaders: false,
    })
    await fetchEnds(admin, 'written')
    await admin.disconnect()
    expect(existsSync(join(run.folder, 'kafka-1', 'data', 'written-0'))).toBe(true)
    expect(readdirSync(run.folder).filter((name) => /^(kafka|redis)-/.test(name)).length).toBe(2)
    // In a locale without these characters, Java replaces them in the folder's name, and so creates
    // a second folder here.
    expect(readdirSync(root).length).toBe(1)
  } finally {
    await run.close()
    rmSync(root, { recursive: true })
  }
})
