import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { PassThrough } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { promotedBytes } from '@customer-stream/testing/promoted-bytes'
import { describe, expect, it } from 'vitest'
import { type BodyError, createReceiveBody } from './receive-body.ts'

const tick = () => new Promise(setImmediate)

const open = (options: Partial<Parameters<typeof createReceiveBody>[0]> = {}) => {
  const receiveBody = createReceiveBody({ maxBodyBytes: 100_000, maxBytesTogether: 250_000, ...options })
  return (headers: Record<string, string> = {}) => {
    const stream = new PassThrough()
    const results: (string | undefined)[] = []
    receiveBody(Object.assign(stream, { headers }) as unknown as IncomingMessage, (error: BodyError | null, body) =>
      results.push(error?.problem ?? body?.toString()),
    )
    return { stream, results }
  }
}

it('a body is received in pieces', async () => {
  const { stream, results } = open()()
  for (const piece of ['a', 'b', 'c']) stream.write(piece)
  stream.end()
  await tick()
  expect(results).toEqual(['abc'])
})

it('a body in chunks of many sizes keeps the order of its bytes', async () => {
  const { stream, results } = open()()
  const sizes = [1, 5000, 3, 4095, 4096, 1, 1, 9000, 2]
  const chunks = Array.from({ length: 36 }, (_, i) => String.fromCharCode(65 + i).repeat(sizes[i % sizes.length] ?? 1))
  for (const chunk of chunks) stream.write(chunk)
  stream.end()
  await tick()
  expect(results[0] === chunks.join('')).toBe(true)
})

it('the first eight chunks of a body are kept, and later small chunks are copied together', async () => {
  const { stream, results } = open()()
  const write = (count: number) =>
    Array.from({ length: count }, () => {
      const chunk = Buffer.allocUnsafeSlow(1).fill('x')
      stream.write(chunk)
      return new WeakRef(chunk)
    })
  const chunks = write(5000)
  await tick()
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  expect(chunks.filter((chunk) => chunk.deref()).length).toBeLessThan(20)
  stream.end()
  await tick()
  expect(results).toEqual(['x'.repeat(5000)])
})

it('a body of exactly the limit is accepted, and one byte more is refused', async () => {
  const receive = open()
  const [fits, long, declared] = [receive(), receive(), receive({ 'content-length': '100001' })]
  fits.stream.end('x'.repeat(100_000))
  long.stream.write('x'.repeat(100_001))
  await tick()
  expect([fits.results, long.results, declared.results]).toEqual([['x'.repeat(100_000)], ['too-large'], ['too-large']])
})

it('a body is incomplete if its connection closes before the end', async () => {
  const { stream, results } = open()()
  stream.write('half')
  await tick()
  stream.destroy(new Error('aborted'))
  await tick()
  expect(results).toEqual(['incomplete'])
})

describe('the limit of all bodies', () => {
  it('if all bodies together exceed their limit, the body that stalls longest is refused', async () => {
    const receive = open()
    const [stalled, slow, quick] = [receive(), receive(), receive()]
    // The stalled body begins after the slow body, but makes no progress.
    for (const body of [slow, stalled]) {
      body.stream.write('x'.repeat(90_000))
      await tick()
    }
    slow.stream.write('x')
    await tick()
    quick.stream.end('q'.repeat(90_000))
    await tick()
    expect([stalled.results, slow.results, quick.results]).toEqual([['too-many-bodies'], [], ['q'.repeat(90_000)]])
  })

  it('the limit of all bodies counts the memory of small chunks, and a single body may exceed it', async () => {
    const receive = open({ maxBytesTogether: 2000 })
    const bodies = [receive(), receive(), receive()]
    const [first, second, third] = bodies.map(({ results }) => results)
    for (const { stream } of bodies.slice(0, 2)) {
      for (let i = 0; i < 3; i++) stream.write('x')
      await tick()
    }
    expect([first, second]).toEqual([[], []])
    bodies[2]?.stream.end('x'.repeat(1000))
    await tick()
    expect([first, second, third]).toEqual([['too-many-bodies'], [], ['x'.repeat(1000)]])
    for (let i = 0; i < 8; i++) bodies[1]?.stream.write('x')
    bodies[1]?.stream.end()
    await tick()
    expect(second).toEqual(['x'.repeat(11)])
  })

  it('a body frees its memory when it is complete, cut off or too large', async () => {
    const receive = open()
    for (let i = 0; i < 10; i++) {
      const [whole, cut, long] = [receive(), receive(), receive()]
      whole.stream.end('x'.repeat(90_000))
      cut.stream.write('x'.repeat(90_000))
      await tick()
      cut.stream.destroy()
      long.stream.write('x'.repeat(110_000))
      await tick()
      await tick()
      expect([whole.results, cut.results, long.results]).toEqual([['x'.repeat(90_000)], ['incomplete'], ['too-large']])
    }
  })
})

it('minor garbage collections free the bodies that are complete', async () => {
  const receiveBody = createReceiveBody({ maxBodyBytes: 100, maxBytesTogether: 1000 })
  const bytes = await promotedBytes(300, async (i) => {
    const request = Object.assign(new EventEmitter(), { headers: {} })
    receiveBody(request as unknown as IncomingMessage, () => undefined)
    request.emit('data', Object.assign(Buffer.from('x'), { load: new Array(5000).fill(i) }))
    request.emit('end')
  })
  expect(bytes).toBeLessThan(1_000_000)
})

it('garbage collections of the young generation free what the list of arriving bodies has allocated', async () => {
  const receiveBody = createReceiveBody({ maxBodyBytes: 100, maxBytesTogether: 1000 })
  const bytes = await promotedBytes(100, async () => {
    for (let i = 0; i < 200; i++) {
      const request = Object.assign(new EventEmitter(), { headers: {} })
      receiveBody(request as unknown as IncomingMessage, () => undefined)
      request.emit('data', Buffer.from('x'))
      request.emit('end')
    }
  })
  expect(bytes).toBeLessThan(1_000_000)
})
