import { createAuthority } from '@customer-stream/testing/certificates'
import { describe, expect, it } from 'vitest'
import { loadSettings } from '../process/settings.ts'
import { createRedisDiagnose, type RedisClient, redisSettings } from './index.ts'
import { openSentinel } from './sentinel.ts'

const settings = loadSettings(redisSettings, { REDIS_URL: 'redis://bob:hunter2@10.0.0.7:6379/3' })
const diagnose = createRedisDiagnose(settings, {} as RedisClient)
const errorOf = (message: string, code?: string) => Object.assign(new Error(message), code !== undefined && { code })

describe('an error of Redis that a person must solve', () => {
  it.each([
    ['authentication', 'WRONGPASS invalid username-password pair or user is disabled.', 'password in REDIS_URL'],
    ['authentication', 'NOAUTH Authentication required.', 'password in REDIS_URL'],
    ['redis', 'ERR DB index is out of range', 'database number at the end of REDIS_URL'],
    [
      'redis',
      "NOPERM this user has no permissions to run the 'select' command or its subcommand",
      'right to call SELECT',
    ],
    [
      'authorization',
      "NOPERM this user has no permissions to run the 'evalsha' command or its subcommand",
      "'evalsha'",
    ],
    [
      'authorization',
      "ERR Error running script: @user_script: 60: The user executing the script can't run this command or subcommand",
      'Grant',
    ],
    // Redis 7.0
    [
      'authorization',
      "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments " +
        'script: 1111e7f8, on @user_script:1.',
      'Grant',
    ],
    // Redis 7.4, 8.2 and Valkey 9.1
    ['authorization', "ERR ACL failure in script: User bob has no permissions to run the 'hdel' command", "'hdel'"],
    ['authorization', 'ERR ACL failure in script: No permissions to access a key script: on @user_script:1.', 'Grant'],
    ['redis', 'WRONGTYPE Operation against a key holding the wrong kind of value', 'REDIS_KEY_PREFIX'],
  ])('a Redis error blocks the service, with the reason %s: %s', (reason, message, hint) => {
    expect(diagnose(errorOf(message))).toEqual({ blocked: true, reason, message: expect.stringContaining(hint) })
  })

  it.each([
    ['address', 'ENOTFOUND', 'getaddrinfo ENOTFOUND redis.invalid'],
    ['tls', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'self-signed certificate'],
    ['tls', 'ERR_SSL_WRONG_VERSION_NUMBER', 'wrong version number'],
  ])('a connection error blocks the service, with the reason %s: %s', (reason, code, message) => {
    expect(diagnose(errorOf(message, code))).toMatchObject({ blocked: true, reason })
  })
})

it('the diagnosis of an unknown host says that a stopped container has no name', () => {
  const { message } = diagnose(errorOf('getaddrinfo ENOTFOUND redis-1', 'ENOTFOUND'))
  expect(message).toMatch(/does not exist.*check that the container runs.*Otherwise check REDIS_URL/)
})

it.each([
  ['CERT_HAS_EXPIRED', 'certificate has expired', /Renew the certificate of the server/],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'unable to verify the first certificate', /not trusted here.*Check REDIS_TLS_CA/],
  ['ERR_TLS_CERT_ALTNAME_INVALID', "Host: a. is not in the cert's altnames", /other hosts.*the host in REDIS_URL/],
  ['ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED', 'ssl/tls alert certificate expired', /Renew REDIS_TLS_CERT/],
])('the diagnosis of %s says which certificate is wrong, and why', (code, message, hint) => {
  expect(diagnose(errorOf(message, code))).toMatchObject({ reason: 'tls', message: expect.stringMatching(hint) })
})

it.each(['read ECONNRESET', 'write EPIPE', 'Connection is closed.'])(
  'the diagnosis of %s says that another server may listen at the address',
  (message) => {
    const said = expect.stringMatching(
      /closes the connection \(.*check that REDIS_URL names a Redis, not another server/,
    )
    expect(diagnose(errorOf(message))).toMatchObject({ blocked: false, message: said })
  },
)

it.each(['read ECONNRESET', 'write EPIPE', 'Connection is closed.'])(
  'if the client certificate has expired, the diagnosis of %s names the certificate',
  (message) => {
    const authority = createAuthority('authority')
    const tlsSettings = (notAfter?: Date) => {
      const { cert, key } = authority.issue('client', [], notAfter)
      const env = { REDIS_URL: 'rediss://10.0.0.7', REDIS_TLS_CERT: cert, REDIS_TLS_KEY: key }
      return loadSettings(redisSettings, env)
    }
    const expired = createRedisDiagnose(tlsSettings(new Date(Date.now() - 1000)), {} as RedisClient)
    const valid = createRedisDiagnose(tlsSettings(), {} as RedisClient)
    const names = expect.stringMatching(/client certificate, which has expired.*Renew REDIS_TLS_CERT/)
    expect(expired(errorOf(message))).toMatchObject({ blocked: true, reason: 'tls', message: names })
    expect(valid(errorOf(message))).toMatchObject({ blocked: false, reason: 'outage' })
  },
)

describe('an outage of Redis', () => {
  it.each([
    ["READONLY You can't write against a read only replica.", 'primary'],
    ["ERR Error running script: -OOM command not allowed when used memory > 'maxmemory'.", 'maxmemory'],
    ['MISCONF Redis is configured to save RDB snapshots', 'disk'],
    ['ERR max number of clients reached', 'maxclients'],
    ['Command timed out', 'REDIS_URL'],
    ['Unknown RESP type 72 "H". Please report this.', 'is not a Redis (Unknown RESP type 72 "H"). '],
  ])('an outage of Redis does not block the service, and its message has advice: %s', (message, hint) => {
    expect(diagnose(errorOf(message))).toEqual({
      blocked: false,
      reason: 'outage',
      message: expect.stringContaining(hint),
    })
  })

  it('the diagnosis names the address without the password', () => {
    const { message } = diagnose(errorOf('connect ECONNREFUSED 10.0.0.7:6379', 'ECONNREFUSED'))
    expect(message).toContain('redis://10.0.0.7:6379/3 refuses connections')
    expect(message).not.toContain('hunter2')
  })
})

it('the diagnosis of a command names the denied call and key, and does not mention retries', () => {
  const denied = (name: string, args: readonly string[]) =>
    createRedisDiagnose(
      settings,
      {} as RedisClient,
      'command',
    )(Object.assign(errorOf('NOPERM no'), { command: { name, args } })).message
  expect(denied('hmget', ['mykaarma:positions:v1', 'x/0'])).toMatch(
    / does not allow its user to call HMGET on mykaarma:positions:v1 \(/,
  )
  expect(denied('scan', ['0', 'MATCH', 'mykaarma:customer:{*}'])).toMatch(/ call SCAN on mykaarma:customer:\{\*\} \(/)
  expect(denied('ping', [])).toMatch(/ call PING \((?!.*keeps trying)/)
})

describe('a primary that Sentinel names', () => {
  const sentinels = { REDIS_URL: 'redis://bob:hunter2@mymaster', REDIS_SENTINELS: 'a:1' }
  const withSentinels = loadSettings(redisSettings, sentinels)
  const { redis, explain } = openSentinel(withSentinels, { lazyConnect: true })
  const { natMap } = redis.options
  const diagnosisOf = (error: Error) => createRedisDiagnose(withSentinels, redis)(explain(error))
  if (typeof natMap === 'function') natMap('redis-0:6379')

  it('if the primary’s host name does not exist, the diagnosis blames Sentinel, not REDIS_URL', () => {
    const error = Object.assign(errorOf('getaddrinfo ENOTFOUND redis-0', 'ENOTFOUND'), { syscall: 'getaddrinfo' })
    const { blocked, message } = diagnosisOf(error)
    expect(blocked).toBe(false)
    expect(message).toMatch(/Sentinel names redis-0:6379 as the primary: getaddrinfo.*announce-ip/)
    expect(message).not.toContain('REDIS_URL')
  })

  it.each(['Command timed out', "READONLY You can't write against a read only replica."])(
    'the diagnosis names the address of the primary, and not REDIS_URL: %s',
    (text) => {
      const { message } = diagnosisOf(errorOf(text))
      expect(message).toMatch(/Redis redis:\/\/mymaster, at redis-0:6379, .*announce-ip/)
      expect(message).not.toContain('REDIS_URL')
    },
  )
})
