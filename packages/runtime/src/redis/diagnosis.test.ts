import { describe, expect, it } from 'vitest'
import { loadSettings } from '../process/settings.ts'
import { createRedisDiagnose, type RedisClient, redisSettings } from './index.ts'

const settings = loadSettings(redisSettings, { REDIS_URL: 'redis://bob:hunter2@10.0.0.7:6379/3' })
const diagnose = createRedisDiagnose(settings, {} as RedisClient)
const errorOf = (message: string, code?: string) => Object.assign(new Error(message), code !== undefined && { code })

describe('an error of Redis that a person must mend', () => {
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
    ['authorization', "ERR ACL failure in script: User bob has no permissions to run the 'hdel' command", "'hdel'"],
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

describe('an outage of Redis', () => {
  it.each([
    ["READONLY You can't write against a read only replica.", 'primary'],
    ["ERR Error running script: -OOM command not allowed when used memory > 'maxmemory'.", 'maxmemory'],
    ['MISCONF Redis is configured to save RDB snapshots', 'disk'],
    ['ERR max number of clients reached', 'maxclients'],
    ['Command timed out', 'REDIS_URL'],
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

it('the diagnosis of a command names the denied call and key, without mentioning retries', () => {
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
