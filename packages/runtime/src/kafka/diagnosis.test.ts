import { createAuthority } from '@customer-stream/testing/certificates'
import { expect, it } from 'vitest'
import { loadSettings } from '../process/settings.ts'
import { createDiagnose } from './diagnosis.ts'
import { attributed, noteAnswer, noteFailedRequest } from './failed-request.ts'
import { kafkaSettings } from './settings.ts'
import { TopicError } from './topic-check.ts'

const diagnose = createDiagnose(loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:9092,b:9092' }))
/** Creates an error like kafkajs does, with nested causes. */
const error = (facts: object, cause?: unknown) => Object.assign(new Error('cause', { cause }), facts)

it.each([
  ['POLICY_VIOLATION', 'topic', /KAFKA_CREATE_TOPICS=false/],
  ['INVALID_PARTITIONS', 'topic', /KAFKA_PARTITIONS/],
  ['INVALID_TOPIC_EXCEPTION', 'topic', /KAFKA_TOPIC_PREFIX/],
  ['TOPIC_AUTHORIZATION_FAILED', 'authorization', /create topic t\b.*CREATE/],
  ['CLUSTER_AUTHORIZATION_FAILED', 'authorization', /create topic t\b.*CREATE/],
])('the diagnosis of %s names the refused topic, not a topic that already exists', (type, reason, words) => {
  const exists = error({ name: 'KafkaJSCreateTopicError', type: 'TOPIC_ALREADY_EXISTS', topic: 'there' })
  const refused = error({ name: 'KafkaJSCreateTopicError', type, topic: 't' })
  const aggregate = error({ name: 'KafkaJSAggregateError', errors: [exists, refused] })
  noteFailedRequest(aggregate, { api: 'CreateTopics', broker: 'a:9092' })
  const diagnosis = diagnose(aggregate, 'create topics')
  expect(diagnosis).toMatchObject({ blocked: true, reason })
  expect(diagnosis.message).toMatch(words)
})

it.each([
  ['INVALID_SESSION_TIMEOUT', 'group', /CONSUMER_SESSION_TIMEOUT_MS/],
  ['GROUP_MAX_SIZE_REACHED', 'group', /group.max.size/],
  ['UNSUPPORTED_VERSION', 'version', /supported version/],
])('the diagnosis of %s says that a person must act', (type, reason, words) => {
  const diagnosis = diagnose(error({ name: 'KafkaJSNonRetriableError' }, error({ type })), 'join')
  expect(diagnosis).toMatchObject({ blocked: true, reason })
  expect(diagnosis.message).toMatch(words)
})

it.each([
  [
    'a broker that refuses connections',
    { code: 'ECONNREFUSED', broker: 'b:9092' },
    /b:9092 refuses connections.*KAFKA_BROKERS \(a:9092, b:9092\)/,
  ],
  ['a connection that fails', { name: 'KafkaJSConnectionError', broker: 'c:1' }, /c:1: cause.*advertised.listeners/],
  ['a DNS that does not answer', { code: 'EAI_AGAIN', broker: 'b:9092' }, /b:9092 .*EAI_AGAIN/],
  ['an unavailable coordinator', { type: 'GROUP_COORDINATOR_NOT_AVAILABLE' }, /offsets.topic.replication.factor/],
  [
    'an unavailable coordinator of a transactional id',
    { type: 'GROUP_COORDINATOR_NOT_AVAILABLE' },
    /no coordinator for this id.*transaction.state.log.replication.factor/,
    'use the transactional id p-state-0',
  ],
  ['too few replicas', { type: 'NOT_ENOUGH_REPLICAS' }, /cause/],
  ['a request that times out', { name: 'KafkaJSRequestTimeoutError' }, /cause.*KAFKA_BROKERS \(a:9092, b:9092\)/],
])('the diagnosis calls %s an outage', (_, facts, words, doing = 'read') => {
  const diagnosis = diagnose(error({ name: 'KafkaJSNumberOfRetriesExceeded' }, error(facts)), doing)
  expect(diagnosis).toMatchObject({ blocked: false, reason: 'outage' })
  expect(diagnosis.message).toMatch(words)
})

it('proxies that worked before and now close the TLS handshake are reported as an outage', () => {
  const settings = loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:9093,b:9093', KAFKA_SSL: 'true' })
  const message = 'Client network socket disconnected before secure TLS connection was established'
  const closed = new AggregateError(['a:9093', 'b:9093'].map((broker) => Object.assign(new Error(message), { broker })))
  const diagnosis = () => createDiagnose(settings)(closed, 'store events')
  noteAnswer('Metadata', { broker: 'a:9093', tls: true, login: false })
  expect(diagnosis()).toMatchObject({ blocked: true, reason: 'tls' })
  noteAnswer('Metadata', { broker: 'b:9093', tls: true, login: false })
  expect(diagnosis()).toMatchObject({ blocked: false, reason: 'outage' })
})

it('if a broker that has answered before refuses our expired certificate, the diagnosis is not an outage', () => {
  const { cert } = createAuthority().issue('client', [], new Date(Date.now() - 1000))
  const given = { KAFKA_BROKERS: 'c:9093', KAFKA_SSL: 'true', KAFKA_SSL_CERT: cert }
  const closed = Object.assign(
    new Error('Client network socket disconnected before secure TLS connection was established'),
    { broker: 'c:9093' },
  )
  noteAnswer('Metadata', { broker: 'c:9093', tls: true, login: false })
  const diagnosis = createDiagnose(loadSettings(kafkaSettings, given))(closed, 'store events')
  expect(diagnosis).toMatchObject({ blocked: true, reason: 'tls' })
  expect(diagnosis.message).toContain('which has expired. Renew KAFKA_SSL_CERT and KAFKA_SSL_KEY.')
})

it('the diagnosis names all bootstrap brokers if no broker answers', () => {
  const refused = ['a:9092', 'b:9092', 'c:9092'].map((broker) => error({ code: 'ECONNREFUSED', broker }))
  const { blocked, message } = diagnose(new AggregateError(refused), 'store events')
  expect([blocked, message]).toEqual([
    false,
    'Kafka a:9092, b:9092 refuses connections (ECONNREFUSED). The service cannot store events. The service ' +
      'keeps trying. ' +
      'If this lasts, check that Kafka runs. Also check KAFKA_BROKERS (a:9092, b:9092).',
  ])
})

it('if an error has the text of the failed work, the diagnosis uses this text, not the caller’s', async () => {
  const failed = await attributed('write to topic t', () =>
    Promise.reject(error({ type: 'TOPIC_AUTHORIZATION_FAILED' })),
  ).catch((reason: unknown) => reason)
  expect(diagnose(error({}, failed), 'connect').message).toContain('to write to topic t (TOPIC_AUTHORIZATION_FAILED)')
})

it('the diagnosis keeps the message of a TopicError', () => {
  expect(diagnose(new TopicError('Topics are missing: t.'), 'connect')).toEqual({
    blocked: true,
    reason: 'topic',
    message: 'Topics are missing: t.',
  })
})

it('the diagnosis of a command names one right that includes all missing rights, and mentions no retries', async () => {
  const ofCommand = createDiagnose(loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:9092' }), 'command')
  const denied = error({ type: 'TOPIC_AUTHORIZATION_FAILED' })
  noteFailedRequest(denied, { api: 'Metadata', broker: 'a:9092' })
  const { message } = ofCommand(denied, 'read topic t')
  expect(message).toBe(
    'Kafka a:9092 does not allow the anonymous user (no login) to read topic t (TOPIC_AUTHORIZATION_FAILED for ' +
      'Metadata). Grant READ on the topic. If the topic should have another name, check KAFKA_TOPIC_PREFIX.',
  )
  expect(ofCommand(error({ type: 'SASL_AUTHENTICATION_FAILED' }), 'read').message).not.toMatch(/service|logs in again/)
})
