import { projectorSettings } from '@customer-stream/configuration'
import { loadSettings } from '@customer-stream/runtime'
import { expect, it } from 'vitest'
import { optionsOf } from './options.ts'

const optionsFor = (env: Record<string, string>) =>
  optionsOf(loadSettings(projectorSettings, { KAFKA_BROKERS: 'a:1', REDIS_URL: 'redis://a:1', ...env }), 'me')

it('all parts of the projector use the same topic, group and instance', () => {
  const { topic, groupId, consumer, progress, startup, store, projection, outputs, kafkaCheck, tasks } = optionsFor({
    KAFKA_TOPIC_PREFIX: 'x.',
    CONSUMER_GROUP_ID: 'g',
  })
  expect([topic, groupId]).toEqual(['x.customers.raw', 'g'])
  for (const part of [consumer, progress, startup]) expect(part).toMatchObject({ topic, groupId, instance: 'me' })
  for (const part of [store, projection, outputs, kafkaCheck]) expect(part).toMatchObject({ topic })
  for (const part of [projection, outputs]) expect(part).toMatchObject({ quarantineTopic: 'x.quarantine' })
  expect(tasks.instance).toBe('me')
})

it('a group member sends five heartbeats within its session timeout', () => {
  expect(optionsFor({ CONSUMER_SESSION_TIMEOUT_MS: '10000' }).consumer).toMatchObject({
    sessionTimeoutMs: 10_000,
    heartbeatIntervalMs: 2000,
  })
})

it.each([
  ['refuse', false],
  ['start-over', true],
])('ON_CLUSTER_CHANGE=%s allows the positions of another cluster to be deleted: %s', (choice, startOver) => {
  expect(optionsFor({ ON_CLUSTER_CHANGE: choice }).projection.startOver).toBe(startOver)
})

it('installations with different topic prefixes have different groups', () => {
  expect(optionsFor({}).groupId).toBe('customer-stream-projector')
  expect(optionsFor({ REDIS_KEY_PREFIX: 'x:' }).groupId).not.toBe('customer-stream-projector')
})
