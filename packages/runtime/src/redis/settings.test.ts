import { createAuthority } from '@customer-stream/testing/certificates'
import { describe, expect, it } from 'vitest'
import { loadSettings } from '../process/settings.ts'
import { redisRules, redisSettings } from './settings.ts'

const load = (url: string, cluster = false) =>
  loadSettings(redisSettings, { REDIS_URL: url, REDIS_CLUSTER: String(cluster) }, redisRules)

describe('the address of Redis', () => {
  it.each([
    ['one server with a database', 'rediss://user:p%40ss@a:6380/3', false],
    ['one node of a cluster', 'redis://:secret@a', true],
    ['several nodes of a cluster', 'redis://a:1, redis://[::1]:2/0', true],
  ])('REDIS_URL may be %s', (_, url, cluster) => {
    expect(load(url, cluster).REDIS_URL).toBe(url)
  })

  it.each([
    ['several servers without REDIS_CLUSTER=true', 'redis://a,redis://b', false, 'REDIS_CLUSTER=true'],
    ['a database of a cluster', 'redis://a/1', true, 'database 0'],
    ['a list with an entry that is not an address', 'redis://a,b:6379', true, 'must be redis://host:port'],
    [
      'an address without its scheme',
      'localhost:6379',
      false,
      'expected redis://[user:password@]host:port[/database], rediss://… or unix://',
    ],
    ['an address with a wrong port', 'redis://a:port', false, 'must be redis://host:port'],
  ])('REDIS_URL may not be %s', (_, url, cluster, said) => {
    expect(() => load(url, cluster)).toThrow(said)
  })
})

it('REDIS_KEY_PREFIX may have a brace only on a single Redis', () => {
  const prefixOf = (cluster: boolean, prefix: string) => {
    const env = { REDIS_URL: 'redis://a', REDIS_CLUSTER: String(cluster), REDIS_KEY_PREFIX: prefix }
    return loadSettings(redisSettings, env, redisRules).REDIS_KEY_PREFIX
  }
  expect(prefixOf(false, 'a{b')).toBe('a{b')
  for (const prefix of ['a{b', '{a}:']) expect(() => prefixOf(true, prefix)).toThrow('REDIS_KEY_PREFIX has a brace')
})

const { ca, issue } = createAuthority()
const { cert, key } = issue('projector')
const problemOf = (env: Record<string, string>): string => {
  try {
    loadSettings(redisSettings, { REDIS_URL: 'redis://a', ...env }, redisRules)
    return 'none'
  } catch (error) {
    return (error as Error).message
  }
}

it('the Redis settings accept TLS with a client certificate, a socket, and Sentinels', () => {
  const tls = { REDIS_TLS_CA: ca, REDIS_TLS_CERT: cert, REDIS_TLS_KEY: key }
  expect(problemOf({ REDIS_URL: 'rediss://a', ...tls })).toBe('none')
  expect(problemOf({ REDIS_URL: 'rediss://a,rediss://b', REDIS_CLUSTER: 'true', ...tls })).toBe('none')
  expect(problemOf({ REDIS_URL: 'unix://user:p@/run/redis.sock?db=1' })).toBe('none')
  const sentinel = { REDIS_SENTINELS: 'a, b:1,[::1]:2', REDIS_SENTINEL_PASSWORD: 'p' }
  expect(problemOf({ REDIS_URL: 'rediss://u:p@mymaster/1', ...sentinel, ...tls })).toBe('none')
  expect(
    loadSettings(redisSettings, { REDIS_URL: 'redis://mymaster', ...sentinel }, redisRules).REDIS_SENTINELS,
  ).toEqual([
    { host: 'a', port: 26_379 },
    { host: 'b', port: 1 },
    { host: '::1', port: 2 },
  ])
})

it.each<[string, Record<string, string>, string]>([
  ['a certificate authority without TLS', { REDIS_TLS_CA: ca }, 'REDIS_TLS_CA: given, but REDIS_URL is not rediss://'],
  ['an authority that is not PEM', { REDIS_URL: 'rediss://a', REDIS_TLS_CA: 'x' }, 'REDIS_TLS_CA has no certificate'],
  ['a certificate without its key', { REDIS_URL: 'rediss://a', REDIS_TLS_CERT: cert }, 'belong together'],
  ['a password with a bare %', { REDIS_URL: 'redis://u:p%zz@a' }, '%2F, %23 and %25'],
  ['a socket of a cluster', { REDIS_URL: 'unix:///s', REDIS_CLUSTER: 'true' }, 'names a socket'],
  ['a cluster with TLS on one node only', { REDIS_URL: 'rediss://a,redis://b', REDIS_CLUSTER: 'true' }, 'the same'],
  ['a Sentinel with a scheme', { REDIS_SENTINELS: 'a,redis://u:pw@b' }, 'REDIS_SENTINELS: entry 2 is not of the form'],
  ['a list of Sentinels without entries', { REDIS_SENTINELS: ',' }, 'REDIS_SENTINELS: the value has no entry'],
  ['a Sentinel with a wrong port', { REDIS_SENTINELS: 'a:70000' }, 'entry 1 is not of the form host:port'],
  ['a cluster with Sentinels', { REDIS_SENTINELS: 'a', REDIS_CLUSTER: 'true' }, 'has no Sentinels'],
  ['the name of a primary with a port', { REDIS_URL: 'redis://mymaster:6379', REDIS_SENTINELS: 'a' }, 'has no port'],
  ['a socket with Sentinels', { REDIS_URL: 'unix:///s', REDIS_SENTINELS: 'a' }, 'name of the primary'],
  ['a Sentinel password without Sentinels', { REDIS_SENTINEL_PASSWORD: 'p' }, 'REDIS_SENTINELS names no Sentinel'],
  [
    'a user of Sentinel without a password',
    { REDIS_URL: 'redis://m', REDIS_SENTINELS: 'a', REDIS_SENTINEL_USERNAME: 'u' },
    'needs REDIS_SENTINEL_PASSWORD',
  ],
])('the Redis settings refuse %s', (_, env, problem) => {
  expect(problemOf(env)).toContain(problem)
  expect(problemOf(env)).not.toContain('pw')
})

it.each([
  ['redis://a', 'redis://user:p@a:6379/0', true],
  ['redis://a', 'rediss://a', false],
  ['redis://a', 'redis://b', false],
  ['redis://a/1', 'redis://a/2', false],
  ['unix:///a', 'unix:///b', false],
])('%s and %s have the same address: %s', (one, other, areSame) => {
  const { fixedPart } = redisSettings.REDIS_URL
  expect(fixedPart(one) === fixedPart(other)).toBe(areSame)
})
