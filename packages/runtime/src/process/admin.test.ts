import { expect, it } from 'vitest'
import { answerOf, readinessCheck } from './admin.ts'
import { createAdminApp } from './admin-app.ts'
import { createRegistry } from './metrics.ts'
import { createReadyGauge } from './ready-gauge.ts'
import { version } from './version.ts'

it('a readiness check without a problem is ready', () => {
  expect(readinessCheck('kafka', undefined)).toEqual({ name: 'kafka', ready: true })
})

it('a readiness check with a problem is not ready, and a long problem text is shortened', () => {
  expect(readinessCheck('kafka', 'no broker')).toEqual({ name: 'kafka', ready: false, detail: 'no broker' })
  expect(readinessCheck('kafka', 'x'.repeat(10_000)).detail?.length).toBeLessThan(1000)
})

it('answerOf fails with the server’s error, or with ETIMEDOUT if the server does not answer', async () => {
  await answerOf(async () => 'anything', 1000)
  await expect(answerOf(() => Promise.reject(new Error('no broker')), 1000)).rejects.toThrow('no broker')
  await expect(answerOf(() => new Promise(() => {}), 5)).rejects.toMatchObject({
    code: 'ETIMEDOUT',
    message: 'no answer within 5 ms',
  })
})

it('the metric customer_stream_ready has the current checks, and drops earlier checks', async () => {
  const registry = createRegistry('test')
  let checks = [readinessCheck('start', 'not connected')]
  createReadyGauge(registry, async () => checks)
  expect(await registry.metrics()).toContain('customer_stream_ready{check="start",service="test"} 0')
  checks = [readinessCheck('kafka', undefined), readinessCheck('redis', 'no answer')]
  const { values } = await registry.getSingleMetric('customer_stream_ready')!.get()
  expect(values.map(({ labels, value }) => [labels.check, value])).toEqual([
    ['kafka', 1],
    ['redis', 0],
  ])
})

it('the metric customer_stream_build_info has the version', async () => {
  expect(await createRegistry('test').metrics()).toContain(`customer_stream_build_info{version="${version}"`)
})

it('with ADMIN_TOKEN, the admin port shows checks and metrics only to a request with the current token', async () => {
  const settings: { ADMIN_TOKEN?: string } = {}
  const checks = async () => [readinessCheck('kafka', 'broker-1 does not answer')]
  const app = createAdminApp({ registry: createRegistry('test'), checks, settings })
  const ask = async (url: string, token?: string) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const { statusCode, body } = await app.inject({ url, headers })
    return [statusCode, body]
  }
  expect(await ask('/readyz')).toEqual([503, expect.stringContaining('broker-1')])
  expect(await ask('/metrics')).toEqual([200, expect.stringContaining('customer_stream_ready')])

  for (const current of ['first', 'second']) {
    settings.ADMIN_TOKEN = current
    for (const wrong of [undefined, '', 'other', current === 'first' ? 'second' : 'first']) {
      expect(await ask('/livez', wrong)).toEqual([200, '{"status":"alive"}'])
      expect(await ask('/readyz', wrong)).toEqual([503, '{"status":"not-ready"}'])
      expect(await ask('/metrics', wrong)).toEqual([401, expect.not.stringContaining('customer_stream')])
    }
    expect(await ask('/readyz', current)).toEqual([503, expect.stringContaining('broker-1')])
    expect(await ask('/metrics', current)).toEqual([200, expect.stringContaining('customer_stream_ready')])
  }
  await app.close()
})
