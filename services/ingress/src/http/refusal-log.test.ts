import type { Logger } from '@customer-stream/runtime'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { Refusal } from './app.ts'
import { createRefusalLog } from './refusal-log.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] })
  vi.advanceTimersByTime(60_000)
})
afterEach(() => {
  vi.useRealTimers()
})

const open = () => {
  const lines: Record<string, unknown>[] = []
  const log = createRefusalLog({ warn: (fields: Record<string, unknown>) => lines.push(fields) } as unknown as Logger)
  const refuse = (address: string, sender: Refusal['sender'] = 'claimed') =>
    log({
      problem: 'unauthenticated',
      method: 'POST',
      path: '/',
      contentType: undefined,
      bytes: 1,
      address,
      sender,
      peer: address,
      forwardedFor: undefined,
      traceId: undefined,
    })
  return { lines, refuse, addresses: () => lines.splice(0).map(({ address, heldBack }) => [address, heldBack]) }
}

it('each address has its own log lines, so a stranger suppresses no line of another address', () => {
  const { refuse, addresses } = open()
  for (let i = 0; i < 5; i++) refuse('stranger')
  refuse('sender')
  expect(addresses()).toEqual([
    ['stranger', 0],
    ['sender', 0],
  ])
  vi.advanceTimersByTime(10_000)
  refuse('stranger')
  expect(addresses()).toEqual([['stranger', 4]])
})

it('many addresses of strangers do not flood the log, and suppress no line of the proven sender', () => {
  const { lines, refuse, addresses } = open()
  for (let i = 0; i < 10_000; i++) refuse(`stranger-${i}`)
  expect(lines).toHaveLength(20)
  addresses()
  for (let i = 0; i < 5; i++) refuse('sender', 'proven')
  expect(addresses()).toEqual([['sender', 0]])
  vi.advanceTimersByTime(10_000)
  refuse('stranger-0')
  expect(addresses()).toEqual([['stranger-0', 0]])
})

it('the log forgets the address whose last refusal is the oldest', () => {
  const { refuse, addresses } = open()
  refuse('often')
  for (let i = 0; i < 2; i++) refuse('rare')
  for (let i = 0; i < 999; i++) {
    refuse(`stranger-${i}`)
    refuse('often')
  }
  addresses()
  vi.advanceTimersByTime(10_000)
  refuse('often')
  refuse('rare')
  const [[, ofOften], ofRare] = addresses() as [[string, number], [string, number]]
  expect(ofOften).toBeGreaterThan(0)
  // The log has also forgotten how many lines of this address it suppressed.
  expect(ofRare).toEqual(['rare', 0])
})
