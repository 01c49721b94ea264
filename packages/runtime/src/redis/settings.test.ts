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
    ['several servers where no cluster is meant', 'redis://a,redis://b', false, 'REDIS_CLUSTER=true'],
    ['a database of a cluster', 'redis://a/1', true, 'database 0'],
    ['a list of which one is no address', 'redis://a,b:6379', true, 'must be redis://host:port'],
    [
      'an address without its scheme',
      'localhost:6379',
      false,
      'expected redis://[user:password@]host:port[/database] or rediss://',
    ],
    ['no address at all', 'redis://a:port', false, 'must be redis://host:port'],
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
