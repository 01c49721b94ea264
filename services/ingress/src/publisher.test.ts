import { describe, expect, it } from 'vitest'
import { createPublisher, type Outcome } from './publisher.ts'

const record = (name: string, bytes = 1) => ({ name, key: null, value: Buffer.alloc(bytes) })
type Named = ReturnType<typeof record>
const soon = () => performance.now() + 60_000
const refused = () => Object.assign(new Error('too large'), { kind: 'refused' })
const unavailable = () => Object.assign(new Error('down'), { kind: 'unavailable' })

/** A way to Kafka whose sends end when the test says so. */
const manualSend = () => {
  const sends: { names: string[]; succeed(): void; fail(error: Error): void }[] = []
  const waiting: (() => void)[] = []
  const send = (records: readonly Named[]) =>
    new Promise<void>((resolve, reject) => {
      sends.push({ names: records.map(({ name }) => name), succeed: resolve, fail: reject })
      for (const wake of waiting.splice(0)) wake()
    })
  const sent = async (count: number) => {
    while (sends.length < count) await new Promise<void>((resolve) => waiting.push(resolve))
    const last = sends[count - 1]
    if (!last) throw new Error('no send')
    return last
  }
  return { send, sends, sent }
}
const limits = { maxRecords: 1000, maxBytes: 10_000_000 }

describe('a publisher', () => {
  it('collects what arrives while a flush is in flight into the next one', async () => {
    const { send, sent, sends } = manualSend()
    const publisher = createPublisher(send, limits)
    const first = publisher.publish(record('a'), soon())
    const a = await sent(1)
    const later = ['b', 'c', 'd'].map((name) => publisher.publish(record(name), soon()))
    expect(sends).toHaveLength(1)
    a.succeed()
    expect(await first).toBe('stored')
    const next = await sent(2)
    expect(next.names).toEqual(['b', 'c', 'd'])
    next.succeed()
    expect(await Promise.all(later)).toEqual(['stored', 'stored', 'stored'])
    expect(publisher.size).toEqual({ records: 0, bytes: 0 })
  })

  it('promises nothing before the flush has succeeded', async () => {
    const { send, sent } = manualSend()
    const publisher = createPublisher(send, limits)
    let outcome: Outcome | undefined
    const published = publisher.publish(record('a'), soon()).then((o) => {
      outcome = o
    })
    const flush = await sent(1)
    // All that can happen by itself has happened after a turn of the loop.
    await new Promise(setImmediate)
    expect(outcome).toBeUndefined()
    flush.succeed()
    await published
    expect(outcome).toBe('stored')
  })

  it('answers by the deadline though the flush never ends, and goes on holding the memory until it does', async () => {
    const { send, sent } = manualSend()
    const publisher = createPublisher(send, limits)
    const published = publisher.publish(record('a', 1000), performance.now() + 30)
    const flush = await sent(1)
    expect(await published).toBe('deadline')
    expect(publisher.size.records).toBe(1)
    flush.succeed()
    await publisher.close()
    expect(publisher.size).toEqual({ records: 0, bytes: 0 })
  })

  it('does not send what has been answered while it waited', async () => {
    const { send, sent, sends } = manualSend()
    const publisher = createPublisher(send, limits)
    const first = publisher.publish(record('a'), soon())
    const flush = await sent(1)
    expect(await publisher.publish(record('late'), performance.now())).toBe('deadline')
    flush.succeed()
    await first
    await publisher.close()
    expect(sends.map(({ names }) => names)).toEqual([['a']])
  })

  it('takes no more than it may hold, by records and by bytes', async () => {
    const { send, sent } = manualSend()
    const publisher = createPublisher(send, { maxRecords: 2, maxBytes: 3000 })
    const held = [publisher.publish(record('a'), soon()), publisher.publish(record('b'), soon())]
    expect(await publisher.publish(record('c'), soon())).toBe('queue-full')
    const flush = await sent(1)
    flush.succeed()
    await Promise.all(held)
    expect(await publisher.publish(record('large', 3000), soon())).toBe('queue-full')
  })

  it('tries again through an outage, in the old order, until the deadline', async () => {
    let failures = 3
    const sends: string[][] = []
    const publisher = createPublisher(async (records: readonly Named[]) => {
      sends.push(records.map(({ name }) => name))
      if (failures-- > 0) throw unavailable()
    }, limits)
    expect(await Promise.all(['a', 'b'].map((name) => publisher.publish(record(name), soon())))).toEqual(['stored', 'stored'])
    expect(sends).toEqual(Array(4).fill(['a', 'b']))
    failures = Number.POSITIVE_INFINITY
    expect(await publisher.publish(record('c'), performance.now() + 50)).toBe('deadline')
    await publisher.close()
    expect(publisher.size.records).toBe(0)
  })

  it('lets a record that Kafka will never take fail alone', async () => {
    let sends = 0
    const stored: string[] = []
    const publisher = createPublisher(async (records: readonly Named[]) => {
      sends += 1
      if (records.some(({ name }) => name.startsWith('poison'))) throw refused()
      stored.push(...records.map(({ name }) => name))
    }, limits)
    const names = Array.from({ length: 100 }, (_, i) => (i === 13 || i === 77 ? `poison${i}` : `r${i}`))
    const outcomes = await Promise.all(names.map((name) => publisher.publish(record(name), soon())))
    expect(outcomes.map((outcome, i) => (outcome === 'refused' ? i : -1)).filter((i) => i >= 0)).toEqual([13, 77])
    expect(stored).toEqual(names.filter((name) => !name.startsWith('poison')))
    expect(sends).toBeLessThan(40)
  })

  it('bounds a flush by records', async () => {
    const sizes: number[] = []
    const publisher = createPublisher(
      async (records: readonly Named[]) => {
        sizes.push(records.length)
      },
      { ...limits, maxRecords: 5000 },
    )
    await Promise.all(Array.from({ length: 1200 }, (_, i) => publisher.publish(record(`${i}`), soon())))
    expect(sizes).toEqual([500, 500, 200])
  })

  it('bounds a flush by bytes, but for a record that is larger by itself', async () => {
    const sizes: number[] = []
    const publisher = createPublisher(
      async (records: readonly Named[]) => {
        sizes.push(records.length)
      },
      { ...limits, maxBytes: 100_000_000 },
    )
    const mebibytes = [1, 2, 2, 5, 1]
    await Promise.all(mebibytes.map((size, i) => publisher.publish(record(`${i}`, size * 1024 * 1024), soon())))
    expect(sizes).toEqual([2, 1, 1, 1])
  })

  it('on close stores all it has taken and takes no more', async () => {
    const { send, sent } = manualSend()
    const publisher = createPublisher(send, limits)
    const ends: string[] = []
    const published = publisher.publish(record('a'), soon()).then((outcome) => ends.push(outcome))
    const closed = publisher.close().then(() => ends.push('closed'))
    expect(await publisher.publish(record('b'), soon())).toBe('closing')
    const flush = await sent(1)
    flush.succeed()
    await Promise.all([published, closed])
    expect(ends).toEqual(['stored', 'closed'])
  })
})
