import type { IncomingMessage } from 'node:http'
import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { type BodyError, createReceiveBody } from './receive-body.ts'

const tick = () => new Promise(setImmediate)

const open = (options: Partial<Parameters<typeof createReceiveBody>[0]> = {}) => {
  const receiveBody = createReceiveBody({ maxBodyBytes: 100, maxBytesTogether: 250, ...options })
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

it('a body of exactly the limit is accepted, and one byte more is refused', async () => {
  const receive = open()
  const [fits, long, declared] = [receive(), receive(), receive({ 'content-length': '101' })]
  fits.stream.end('x'.repeat(100))
  long.stream.write('x'.repeat(101))
  await tick()
  expect([fits.results, long.results, declared.results]).toEqual([['x'.repeat(100)], ['too-large'], ['too-large']])
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
      body.stream.write('x'.repeat(90))
      await tick()
    }
    slow.stream.write('x')
    await tick()
    quick.stream.end('q'.repeat(90))
    await tick()
    expect([stalled.results, slow.results, quick.results]).toEqual([['too-many-bodies'], [], ['q'.repeat(90)]])
  })

  it('a body frees its memory when it is complete, cut off or too large', async () => {
    const receive = open()
    for (let i = 0; i < 10; i++) {
      const [whole, cut, long] = [receive(), receive(), receive()]
      whole.stream.end('x'.repeat(90))
      cut.stream.write('x'.repeat(90))
      await tick()
      cut.stream.destroy()
      long.stream.write('x'.repeat(110))
      await tick()
      await tick()
      expect([whole.results, cut.results, long.results]).toEqual([['x'.repeat(90)], ['incomplete'], ['too-large']])
    }
  })
})
