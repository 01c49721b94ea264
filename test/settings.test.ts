import { loadSettings, type Settings } from '@customer-stream/runtime'
import { expect, it } from 'vitest'
import { ingressSettings } from '../services/ingress/src/config.ts'
import { projectorSettings } from '../services/projector/src/config.ts'

const required = { KAFKA_BROKERS: 'a:1', REDIS_URL: 'redis://a:1' }
const everySetting = (settings: Settings): Record<string, string> =>
  Object.fromEntries(Object.entries(settings).map(([name, schema]) => [name, String(schema.default ?? schema.minimum ?? 'x')]))

it.each([
  ['ingress', ingressSettings, projectorSettings],
  ['projector', projectorSettings, ingressSettings],
])('the %s starts with an environment that it shares with the other service', (_, own, other) => {
  expect(() => loadSettings<Settings>(own, { ...everySetting(other), ...required })).not.toThrow()
})
