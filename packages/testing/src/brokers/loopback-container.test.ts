import { expect, it } from 'vitest'
import { onLoopback } from './loopback-container.ts'

const published = { '9092/tcp': [{ HostPort: '0' }], '6379/tcp': [{ HostPort: '17000' }] }

it('the ports of a container are published on the loopback address', () => {
  expect(onLoopback(published, 'localhost')).toEqual({
    '9092/tcp': [{ HostPort: '0', HostIp: '127.0.0.1' }],
    '6379/tcp': [{ HostPort: '17000', HostIp: '127.0.0.1' }],
  })
})

it('port bindings are not changed if the container engine runs on another machine', () => {
  expect(onLoopback(published, '10.0.0.7')).toEqual(published)
})
