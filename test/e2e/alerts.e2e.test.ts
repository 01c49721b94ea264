/**
 * A real Prometheus scrapes all services and evaluates the project's rules, while a test stops
 * Kafka, Redis or the projector. Times in the rules are divided by SPEED. Limits of values are
 * unchanged. `npm run test:alerts` causes every other alert.
 */
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import {
  askReader,
  freePorts,
  type InspectableBrokers,
  openPipeline,
  type Pipeline,
  type ServiceProcess,
  startInspectableBrokers,
} from '@customer-stream/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dashboardPanels } from '../../tools/generate-dashboard.ts'
import { type Monitoring, SPEED, startMonitoring } from '../alerts/monitoring.ts'
import { prometheus, runPromtool } from '../prometheus.ts'

/** Time limit for an alert: 30 s for the repair, plus the longest window of a rule in this file. */
const TIMEOUT_MS = 30_000 + (20 * 60_000) / SPEED

/** The longest `for` of a rule, except the rule NoEvents, which needs a day without events. */
const LONGEST_WAIT_MS = (10 * 60_000) / SPEED

describe.skipIf(prometheus === undefined || process.platform !== 'linux')('alerts', () => {
  let brokers: InspectableBrokers
  let pipeline: Pipeline
  let ingress: ServiceProcess
  let projector: ServiceProcess
  let reader: ServiceProcess
  let monitoring: Monitoring
  let sending: NodeJS.Timeout
  let startProjector: () => Promise<ServiceProcess>

  beforeAll(async () => {
    brokers = await startInspectableBrokers({})
    pipeline = await openPipeline(brokers)
    const [ingressPort, projectorPort, readerPort] = (await freePorts(3)).map(String)
    const env = { READINESS_TIMEOUT_MS: '500' }
    startProjector = () => pipeline.start('projector', { ...env, ADMIN_PORT: projectorPort! })
    ingress = await pipeline.start('ingress', { ...env, ADMIN_PORT: ingressPort! })
    projector = await startProjector()
    reader = await pipeline.start('reader', { ...env, ADMIN_PORT: readerPort! })
    await Promise.all([ingress, projector, reader].map((service) => service.untilReady()))
    monitoring = await startMonitoring(join(pipeline.folder, 'prometheus'), {
      'customer-stream-ingress': [`127.0.0.1:${ingressPort}`],
      'customer-stream-projector': [`127.0.0.1:${projectorPort}`],
      'customer-stream-reader': [`127.0.0.1:${readerPort}`],
    })
    // Send events and requests all the time. Errors are expected while Kafka or Redis is stopped.
    const { customerUuid } = makeCustomersEvent()
    sending = setInterval(() => {
      void pipeline.post(ingress, makeCustomersEvent().body).catch(() => undefined)
      void askReader(reader, `/v1/customers/${customerUuid}`).catch(() => undefined)
    }, 200)
  })
  afterAll(async () => {
    clearInterval(sending)
    await monitoring?.end()
    await pipeline?.close()
    await brokers?.stop()
  })

  const untilFiring = (...alerts: readonly string[]) =>
    waitUntil(
      `${alerts.join(' and ')} fire`,
      monitoring.firing,
      (names) => alerts.every((alert) => names.includes(alert)),
      { timeoutMs: TIMEOUT_MS, pauseMs: 200 },
    )
  const untilSilent = () =>
    waitUntil('no alert fires', monitoring.firing, (names) => names.length === 0, {
      timeoutMs: TIMEOUT_MS,
      pauseMs: 200,
    })

  it('promtool accepts the metrics of all running services', async () => {
    for (const { adminUrl } of [ingress, projector, reader]) {
      const metrics = await (await fetch(`${adminUrl}/metrics`)).text()
      expect(metrics).toContain('customer_stream_build_info')
      expect(await runPromtool(['check', 'metrics'], metrics)).toBe('accepted')
    }
  })

  it('no alert fires while all is well', { timeout: TIMEOUT_MS * 2 }, async () => {
    // All times in the rules are divided by 30 here. So an alert may be pending or fire during
    // the start.
    await waitUntil(
      'no alert is pending or fires',
      () => monitoring.alertsIn('pending', 'firing'),
      (names) => names.length === 0,
      { timeoutMs: TIMEOUT_MS, pauseMs: 200 },
    )
    const end = Date.now() + LONGEST_WAIT_MS
    await waitUntil('all rules were evaluated', monitoring.evaluatedAt, (time) => time > end, {
      timeoutMs: LONGEST_WAIT_MS + TIMEOUT_MS,
    })
    expect(await monitoring.firing()).toEqual([])
  })

  it('each panel of the dashboard has data, except panels of rare problems and of certificates', async () => {
    const queries = dashboardPanels.flatMap((panel) => Object.values(panel.queries))
    const steady = queries.filter((expr) => !/> 0$|ALERTS|certificate_expiry/.test(expr))
    expect(steady.length).toBeGreaterThan(30)
    for (const expr of steady)
      await waitUntil(
        `${expr} has data`,
        () => monitoring.seriesOf(expr),
        (count) => count > 0,
      )
  })

  it('refused signatures and suspicious events fire their alerts, which then end', {
    timeout: TIMEOUT_MS * 2,
  }, async () => {
    const { body } = makeCustomersEvent()
    expect((await pipeline.post(ingress, body, { 'mykaarma-signature-token': 'sha256=00' })).status).toBe(401)
    expect((await pipeline.post(ingress, makeCustomersEvent({ timestamp: 0 }).body)).status).toBe(202)
    await untilFiring('SenderRefused', 'RecordsQuarantined', 'SuspiciousEvents')
    await untilSilent()
  })

  it('a dead Redis fires its alert, which ends after the repair', { timeout: TIMEOUT_MS * 2 }, async () => {
    await brokers.redis.kill()
    await untilFiring('RedisUnavailable', 'ReaderUnavailable')
    await brokers.redis.restart()
    await untilSilent()
  })

  it('a dead Kafka fires its alerts, which end after the repair', { timeout: TIMEOUT_MS * 2 }, async () => {
    await brokers.kafka.kill()
    await untilFiring('EventsUnavailable', 'KafkaUnavailable', 'ReaderWithoutKafka')
    await brokers.kafka.restart()
    await untilSilent()
  })

  it('a stopped projector fires its alerts, which end after its start', { timeout: TIMEOUT_MS * 2 }, async () => {
    expect(await projector.end()).toBe(0)
    await untilFiring('ProjectorMissing', 'ProcessDown')
    projector = await startProjector()
    await untilSilent()
  })
})
