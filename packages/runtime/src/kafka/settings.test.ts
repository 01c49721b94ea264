import { createAuthority } from '@customer-stream/testing/certificates'
import { describe, expect, it } from 'vitest'
import { loadSettings } from '../process/settings.ts'
import { kafkaRules, kafkaSettings } from './settings.ts'

const authority = createAuthority()
const client = authority.issue('client')
const oauth = {
  KAFKA_SASL_MECHANISM: 'oauthbearer',
  KAFKA_SASL_OAUTH_TOKEN_URL: 'https://tokens.example.com/token',
  KAFKA_SASL_OAUTH_CLIENT_ID: 'ingress',
  KAFKA_SASL_OAUTH_CLIENT_SECRET: 'secret',
}
const load = (env: Record<string, string>) => loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:9092', ...env })
const problems = (env: Record<string, string>) => kafkaRules.flatMap((rule) => rule(load(env)) ?? [])

describe('KAFKA_BROKERS', () => {
  it.each([
    ['PLAINTEXT://kafka:9092', /without "PLAINTEXT:\/\/"/],
    ['a:9092,SASL_SSL://kafka:9093', /without "SASL_SSL:\/\/"/],
    ['a:1;b:2', /separate several addresses by commas/],
    ['a b:9092', /separate several addresses by commas/],
    ['[::1]:9092', /IPv6/],
    ['::1', /IPv6/],
    ['2001:db8::1:9092', /IPv6/],
    ['localhost', /names no port.*localhost:9092/],
    ['localhost:', /the port must be 1 to 65535/],
    [':9092', /names no host/],
    ['a:0', /the port must be/],
    ['a:65536', /the port must be/],
    ['a:909x', /the port must be/],
    ['a:9092/path', /the port must be/],
    ['user@a:9092', /has a user or a password/],
    ['user:hush@a:9092', /has a user or a password/],
    ['SASL_SSL://user:hush@a:9092', /has a user or a password/],
    ['user:hu,sh@a:9092', /has a user or a password/],
    ['a/b:9092', /not a host name/],
    [',', /names no broker/],
  ])('KAFKA_BROKERS=%s is refused, and the error is one sentence', (brokers, words) => {
    expect(() => load({ KAFKA_BROKERS: brokers })).toThrow(/One setting is wrong:\n {2}- KAFKA_BROKERS: /)
    expect(() => load({ KAFKA_BROKERS: brokers })).toThrow(words)
    expect(() => load({ KAFKA_BROKERS: brokers })).not.toThrow(/hu/)
  })

  it('KAFKA_BROKERS may have host names and addresses with ports, separated by commas and blanks', () => {
    const { KAFKA_BROKERS } = load({ KAFKA_BROKERS: 'b-1.kafka_x:9092, 10.0.0.1:65535,' })
    expect(KAFKA_BROKERS).toEqual(['b-1.kafka_x:9092', '10.0.0.1:65535'])
  })
})

it('a topic prefix is refused if it makes a topic name too long for Kafka', () => {
  expect(() => load({ KAFKA_TOPIC_PREFIX: 'p'.repeat(201) })).toThrow('1 to 200 letters')
  expect(load({ KAFKA_TOPIC_PREFIX: 'p'.repeat(200) }).KAFKA_TOPIC_PREFIX).toHaveLength(200)
})

it.each([
  [{ KAFKA_SSL_CA: authority.ca }, /KAFKA_SSL_CA: given, but KAFKA_SSL is false/],
  [{ KAFKA_SSL_CERT: client.cert, KAFKA_SSL_KEY: client.key }, /KAFKA_SSL_CERT, KAFKA_SSL_KEY: given/],
  [{ KAFKA_SSL: 'true', KAFKA_SSL_CERT: 'pem' }, /belong together/],
  [{ KAFKA_SSL: 'true', KAFKA_SSL_KEY: 'pem' }, /belong together/],
  [{ KAFKA_SSL: 'true', KAFKA_SSL_CA: 'pem' }, /KAFKA_SSL_CA has no certificate/],
  [{ KAFKA_SASL_MECHANISM: 'plain' }, /KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD: missing/],
  [{ KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'u' }, /KAFKA_SASL_PASSWORD: missing/],
  [{ KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 'p' }, /given, but KAFKA_SASL_MECHANISM is none/],
  [{ KAFKA_SASL_OAUTH_SCOPE: 's' }, /KAFKA_SASL_OAUTH_SCOPE: given, but KAFKA_SASL_MECHANISM is none/],
  [{ ...oauth, KAFKA_SASL_PASSWORD: 'p' }, /KAFKA_SASL_PASSWORD: given, but KAFKA_SASL_MECHANISM=oauthbearer does not/],
  [{ KAFKA_SASL_MECHANISM: 'oauthbearer' }, /_TOKEN_URL, KAFKA_SASL_OAUTH_CLIENT_ID, .*_CLIENT_SECRET: missing/],
  [{ ...oauth, KAFKA_SASL_OAUTH_TOKEN_URL: 'tokens.example.com/token' }, /must be https:\/\/host\/path/],
  [{ ...oauth, KAFKA_SASL_OAUTH_TOKEN_URL: 'ftp://a/' }, /must be https:\/\/host\/path/],
  [{ ...oauth, KAFKA_SASL_OAUTH_TOKEN_URL: 'https://user:p@a/' }, /without a user/],
  [{ ...oauth, KAFKA_SASL_OAUTH_TOKEN_URL: 'https://a/#b' }, /without #/],
  [{ ...oauth, KAFKA_SASL_OAUTH_CA: 'garbage' }, /KAFKA_SASL_OAUTH_CA has no certificate/],
])('the error names settings that contradict each other: %o', (env: Record<string, string>, words) => {
  expect(problems(env)).toEqual([expect.stringMatching(words)])
})

it('a login over TLS with a client certificate is accepted', () => {
  const tls = { KAFKA_SSL: 'true', KAFKA_SSL_CA: authority.ca, KAFKA_SSL_CERT: client.cert, KAFKA_SSL_KEY: client.key }
  const login = { KAFKA_SASL_MECHANISM: 'scram-sha-512', KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 'p' }
  expect(problems({ ...tls, ...login })).toEqual([])
  expect(problems({ ...tls, ...oauth, KAFKA_SASL_OAUTH_SCOPE: 'a b', KAFKA_SASL_OAUTH_CA: authority.ca })).toEqual([])
})

it('the error names the settings that a login by AWS needs', () => {
  const names = problems({ KAFKA_SASL_MECHANISM: 'aws-msk-iam' })
  expect(names).toEqual([
    expect.stringContaining('KAFKA_SASL_AWS_REGION: missing'),
    expect.stringContaining('needs KAFKA_SSL=true'),
    expect.stringContaining('npm install aws-msk-iam-sasl-signer-js'),
  ])
})
