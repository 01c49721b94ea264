import { expect, it } from 'vitest'
import { parseAddress, parseAddresses } from './address.ts'

it.each([
  ['redis://a', { tls: false, host: 'a', port: 6379, database: 0 }],
  [
    'rediss://user:p%40s%2Fs@a:6380/3',
    { tls: true, host: 'a', port: 6380, username: 'user', password: 'p@s/s', database: 3 },
  ],
  ['redis://:secret@[::1]:1/', { tls: false, host: '::1', port: 1, password: 'secret', database: 0 }],
  ['redis://my_master', { tls: false, host: 'my_master', port: 6379, database: 0 }],
  ['unix:///run/redis.sock', { tls: false, host: 'socket', port: 6379, path: '/run/redis.sock', database: 0 }],
  [
    'unix://user:p%25@/run/redis.sock?db=2',
    {
      tls: false,
      host: 'socket',
      port: 6379,
      path: '/run/redis.sock',
      username: 'user',
      password: 'p%',
      database: 2,
    },
  ],
])('the Redis address %s is read', (url, address) => {
  expect(parseAddress(url)).toEqual(address)
})

it.each([
  'localhost:6379',
  'http://a',
  'redis://',
  'redis://a:port',
  'redis://a:65536',
  'redis://a/x',
  'redis://a/1/2',
  'redis://a?family=6',
  'redis://user:p%ss@a',
  'unix://',
  'unix:///',
  'unix://host/path',
  'unix:///path?db=x',
  'unix:///path?password=x',
])('the Redis address %s is refused', (url) => {
  expect(parseAddress(url)).toBeUndefined()
})

it('the addresses of Redis Cluster nodes are read', () => {
  expect(parseAddresses('redis://a:1, redis://b:2')?.map(({ host, port }) => `${host}:${port}`)).toEqual(['a:1', 'b:2'])
  expect(parseAddresses('redis://a,b:6379')).toBeUndefined()
})
