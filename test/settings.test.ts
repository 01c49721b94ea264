import { ingressSettings, projectorSettings } from '@customer-stream/configuration'
import { loadSettings, type Settings } from '@customer-stream/runtime'
import { expect, it } from 'vitest'

const required = { KAFKA_BROKERS: 'a:1', REDIS_URL: 'redis://a:1' }
const foreign = (own: Settings, other: Settings): Record<string, string> =>
  Object.fromEntries(Object.keys(other).flatMap((name) => (name in own ? [] : [[name, 'x']])))

it.each([
  ['ingress', ingressSettings, projectorSettings],
  ['projector', projectorSettings, ingressSettings],
])('the %s accepts an environment with the settings of both services', (_, own, other) => {
  expect(() => loadSettings<Settings>(own, { ...foreign(own, other), ...required })).not.toThrow()
})
