import { loadSettings } from '@customer-stream/runtime'
import { expect, it } from 'vitest'
import { projectorSettings } from './projector.ts'
import { allDemands, ingressDemands, projectorDemands, projectorTopics } from './topics.ts'

const env = { KAFKA_BROKERS: 'a:1', REDIS_URL: 'redis://a:1' }
const settings = loadSettings(projectorSettings, env)
const SHARED = ['customers.raw', 'other.raw', 'quarantine']

it('ingress and projector have the same requirements on a topic that both use', () => {
  const ingress = new Map(ingressDemands(settings).map((demand) => [demand.topic, demand]))
  const shared = projectorDemands(projectorTopics(settings)).filter(({ topic }) => ingress.has(topic))
  expect(shared.map(({ topic }) => topic)).toEqual(['mykaarma.customers.raw', 'mykaarma.quarantine'])
  for (const { topic, maxValueBytes, kind = 'events' } of shared)
    expect(ingress.get(topic)).toMatchObject({ maxValueBytes, kind })
})

it.each([
  [{}, [...SHARED, 'customers.state', 'customers.erasures', 'quarantine.audit']],
  [{ KAFKA_STATE_TOPIC: 'false' }, [...SHARED, 'customers.erasures', 'quarantine.audit']],
  [{ KAFKA_ERASURES_TOPIC: 'false' }, [...SHARED, 'customers.state', 'quarantine.audit']],
])('a site with the settings %o needs the topics %o', (given, names) => {
  const topics = allDemands(loadSettings(projectorSettings, { ...env, ...given })).map(({ topic }) => topic)
  expect(topics).toEqual(names.map((name) => `mykaarma.${name}`))
})
