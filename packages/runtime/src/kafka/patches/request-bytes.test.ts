import { createRequire } from 'node:module'
import { describe, expect, it } from 'vitest'
import '../client.ts'
import { RequestBytes } from './request-bytes.ts'

const require = createRequire(import.meta.url)
const Encoder = require('kafkajs/src/protocol/encoder') as new () => {
  readonly buffer: Buffer
  readonly buf: Buffer
  writeBuffer(bytes: Buffer): InstanceType<typeof Encoder>
}
const createRequest = require('kafkajs/src/protocol/request') as (options: {
  readonly correlationId: number
  readonly clientId: string
  readonly request: object
}) => Promise<{ readonly buffer: Buffer }>

const ours = (bytes: Buffer): RequestBytes => {
  const request = new RequestBytes(bytes.length)
  request.at += bytes.copy(request.buf, request.at)
  return request
}
const requestOf = (encoded: unknown, clientId = 'customer-stream') =>
  createRequest({ correlationId: 7, clientId, request: { apiKey: 0, apiVersion: 7, encode: async () => encoded } })

describe('RequestBytes', () => {
  it.each([1, 100, 70_000])(
    'kafkajs puts its header before a request of %i bytes without copying the request',
    async (size) => {
      const bytes = Buffer.alloc(size, 'x')
      const encoded = ours(bytes)
      const request = await requestOf(encoded)
      expect(request.buffer.equals((await requestOf(new Encoder().writeBuffer(bytes))).buffer)).toBe(true)
      expect(request.buffer.buffer).toBe(encoded.buf.buffer)
      encoded.free()
    },
  )

  it('kafkajs writes a header that is larger than the bytes reserved for it', async () => {
    const bytes = Buffer.from('x')
    const clientId = 'x'.repeat(1000)
    const request = await requestOf(ours(bytes), clientId)
    expect(request.buffer.equals((await requestOf(new Encoder().writeBuffer(bytes), clientId)).buffer)).toBe(true)
  })

  it('freed memory is used for the next request that fits, and only for one request', () => {
    const first = new RequestBytes(100_000)
    first.free()
    expect(new RequestBytes(1_000_000).buf).not.toBe(first.buf)
    expect(new RequestBytes(50_000).buf).toBe(first.buf)
    expect(new RequestBytes(50_000).buf).not.toBe(first.buf)
  })

  it('the memory of an unusually large request is not used again', () => {
    const large = new RequestBytes(4_000_000)
    large.free()
    expect(new RequestBytes(10).buf).not.toBe(large.buf)
  })
})
