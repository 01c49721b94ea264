import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ingressRules, ingressSettings } from '@customer-stream/configuration'
import { loadSettings } from '@customer-stream/runtime'
import { createObstacles, createRegistry } from '@customer-stream/runtime/service'
import { topicNames } from '@customer-stream/schemas'
import { silentLogger } from '@customer-stream/testing/vitest'
import { expect, it, onTestFinished } from 'vitest'
import { createIngressMetrics } from '../metrics.ts'
import { SpoolInUseError } from '../spool/spool.ts'
import { createDelivery, type Delivery } from './delivery.ts'

const setUp = (directory?: string) => {
  const env = { KAFKA_BROKERS: '127.0.0.1:1', MYKAARMA_AUTH: 'off', ...(directory && { SPOOL_DIR: directory }) }
  const settings = loadSettings(ingressSettings, env, ingressRules)
  const registry = createRegistry('ingress')
  const obstacles = createObstacles(registry, silentLogger)
  const metrics = createIngressMetrics(registry, {
    size: () => delivery.publishers.held,
    spoolSize: () => delivery.spool?.size,
    isolated: () => delivery.publishers,
  })
  const delivery: Delivery = createDelivery({
    settings,
    topics: topicNames(),
    metrics,
    obstacles,
    logger: silentLogger,
  })
  onTestFinished(() => delivery.spool?.close())
  return { delivery, obstacles, registry }
}
const newFolder = () => {
  const folder = mkdtempSync(join(tmpdir(), 'spool-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
const signal = new AbortController().signal
const record = { topic: topicNames().customers, key: Buffer.from('k'), value: Buffer.from('v'), timestamp: 1 }

it('without a spool, the ingress delivers events to Kafka', async () => {
  const { delivery, registry } = setUp()
  await delivery.openSpool()
  await delivery.drainSpool(true, signal)
  expect(delivery.spool).toBeUndefined()
  expect(await registry.getSingleMetricAsString('ingress_spool_records')).toContain('ingress_spool_records{')
})

it('opening the spool throws if another process uses the spool', async () => {
  const folder = newFolder()
  await setUp(folder).delivery.openSpool()
  await expect(setUp(folder).delivery.openSpool()).rejects.toThrow(SpoolInUseError)
})

it('a spool that cannot be opened is reported, and is opened later', async () => {
  const folder = join(newFolder(), 'spool')
  writeFileSync(folder, 'a file instead of a folder')
  const { delivery, obstacles } = setUp(folder)
  await delivery.openSpool()
  expect(obstacles.blocked).toMatchObject({ reason: 'spool', message: expect.stringContaining(folder) })
  await delivery.drainSpool(true, signal)
  expect(obstacles.blocked).toMatchObject({ reason: 'spool' })
  rmSync(folder)
  await delivery.drainSpool(true, signal)
  expect(obstacles.blocked).toBeUndefined()
})

it('the spool sends no record before the partition counts are known', async () => {
  const { delivery } = setUp(newFolder())
  await delivery.openSpool()
  await delivery.spool?.append(record)
  await delivery.drainSpool(false, signal)
  expect([delivery.spool?.size.records, delivery.publishers.held.records]).toEqual([1, 0])
})
