import { describe, expect, it } from 'vitest'
import { loadSettings } from '../settings.ts'
import { redisFaults, redisSettings } from './settings.ts'

const faultsOf = (url: string, cluster: boolean) =>
  redisFaults(loadSettings(redisSettings, { REDIS_URL: url, REDIS_CLUSTER: String(cluster) }))

describe('the address of Redis', () => {
  it.each([
    ['one server with a database', 'rediss://user:p%40ss@a:6380/3', false],
    ['one node of a cluster', 'redis://:secret@a', true],
    ['several nodes of a cluster', 'redis://a:1, redis://[::1]:2/0', true],
  ])('may be %s', (_, url, cluster) => {
    expect(faultsOf(url, cluster)).toEqual([])
  })

  it.each([
    ['several servers where no cluster is meant', 'redis://a,redis://b', false, 'REDIS_CLUSTER=true'],
    ['a database of a cluster', 'redis://a/1', true, 'database 0'],
    ['a list of which one is no address', 'redis://a,b:6379', true, 'not an address'],
    ['no address at all', 'redis://a:port', false, 'not an address'],
  ])('may not be %s', (_, url, cluster, said) => {
    expect(faultsOf(url, cluster)).toEqual([expect.stringContaining(said)])
  })
})
