import { promotedBytes } from '@customer-stream/testing/promoted-bytes'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  createPublisher as createPublisherItself,
  type End,
  type Publishable,
  type PublisherOptions,
} from './publisher.ts'
import type { Send } from './send-in-parts.ts'

const record = (name: string, bytes = 1) => ({ name, key: null, value: Buffer.alloc(bytes) })
type Named = ReturnType<typeof record>
const soon = () => performance.now() + 60_000
const refused = () => Object.assign(new Error('too large'), { kind: 'refused' })
const unavailable = () => Object.assign(new Error('down'), { kind: 'unavailable' })

/** Simulates a Kafka whose sends end when the test calls `succeed` or `fail`. */
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
/** Creates a publisher whose `publish` resolves with only the outcome's `end`. */
const createPublisher = <R extends Publishable>(send: Send<R>, options: PublisherOptions<R>) => {
  const publisher = createPublisherItself(send, options)
  return Object.create(publisher, {
    publish: { value: async (item: R, deadlineAt: number) => (await publisher.publish(item, deadlineAt)).end },
    close: { value: (deadlineAt = soon()) => publisher.close(deadlineAt) },
  }) as Omit<typeof publisher, 'publish' | 'close'> & {
    publish(record: R, deadlineAt: number): Promise<End>
    close(deadlineAt?: number): Promise<void>
  }
}
const until = async (isTrue: () => boolean) => {
  while (!isTrue()) await new Promise(setImmediate)
}
/** Resolves when the publisher has no more records in memory. */
const released = (publisher: { readonly size: { readonly records: number } }) =>
  until(() => publisher.size.records === 0)
/** Returns a function that moves the publisher's clock forward. */
const clock = () => {
  const now = performance.now.bind(performance)
  let aheadMs = 0
  onTestFinished(() => void vi.restoreAllMocks())
  vi.spyOn(performance, 'now').mockImplementation(() => now() + aheadMs)
  return (ms: number) => {
    aheadMs += ms
  }
}
const limits = { maxRecords: 1000, maxBytes: 10_000_000 }

describe('a publisher', () => {
  it('records that arrive during a flush are sent together in the next flush', async () => {
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

  it('no record is acknowledged before its flush has succeeded', async () => {
    const { send, sent } = manualSend()
    const publisher = createPublisher(send, limits)
    let outcome: End | undefined
    const published = publisher.publish(record('a'), soon()).then((o) => {
      outcome = o
    })
    const flush = await sent(1)
    // Waits until the publisher has finished its work in this turn of the event loop.
    await new Promise(setImmediate)
    expect(outcome).toBeUndefined()
    flush.succeed()
    await published
    expect(outcome).toBe('stored')
  })

  it('during a flush that never ends, requests are answered at the deadline, but records stay buffered', async () => {
    const { send, sent } = manualSend()
    const publisher = createPublisher(send, limits)
    const published = publisher.publish(record('a', 1000), performance.now() + 30)
    const flush = await sent(1)
    expect(await published).toBe('deadline')
    expect(publisher.size.records).toBe(1)
    flush.succeed()
    await released(publisher)
    expect(publisher.size).toEqual({ records: 0, bytes: 0 })
  })

  it('a record whose request was already answered is not sent', async () => {
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

  it('the publisher refuses a record that would exceed its limit of records or bytes', async () => {
    const { send, sent } = manualSend()
    const publisher = createPublisher(send, { maxRecords: 2, maxBytes: 3000 })
    const held = [publisher.publish(record('a'), soon()), publisher.publish(record('b'), soon())]
    expect(await publisher.publish(record('c'), soon())).toBe('queue-full')
    const flush = await sent(1)
    flush.succeed()
    await Promise.all(held)
    expect(await publisher.publish(record('large', 3000), soon())).toBe('queue-full')
  })

  it('during an outage the publisher retries its records in the same order, until their deadline', async () => {
    let failures = 3
    const sends: string[][] = []
    const publisher = createPublisher(async (records: readonly Named[]) => {
      sends.push(records.map(({ name }) => name))
      if (failures-- > 0) throw unavailable()
    }, limits)
    expect(await Promise.all(['a', 'b'].map((name) => publisher.publish(record(name), soon())))).toEqual([
      'stored',
      'stored',
    ])
    expect(sends).toEqual(Array(4).fill(['a', 'b']))
    failures = Number.POSITIVE_INFINITY
    expect(await publisher.publish(record('c'), performance.now() + 50)).toBe('deadline')
    await released(publisher)
    expect(publisher.size.records).toBe(0)
  })

  it("if Kafka refuses some records of a batch, the batch's other records are stored", async () => {
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

  it("the outcome of a record that is not stored has Kafka's error", async () => {
    const send = async (records: readonly Named[]) => {
      throw records.some(({ name }) => name === 'poison') ? refused() : unavailable()
    }
    const publisher = createPublisherItself(send, { ...limits, maxRecords: 1 })
    const messageOf = async (name: string) => {
      const { end, error } = await publisher.publish(record(name), performance.now() + 30)
      return [end, error?.message]
    }
    expect(await messageOf('poison')).toEqual(['refused', 'too large'])
    const late = messageOf('a')
    expect(await late).toEqual(['deadline', 'down'])
    expect(await messageOf('b')).toEqual(['queue-full', 'down'])
    await publisher.close(soon())
  })

  it('the number of records of a flush is limited', async () => {
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

  it('the bytes of a flush are limited, but a flush of one record may be larger', async () => {
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

  it('closing a publisher stores all accepted records, and refuses further records', async () => {
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

describe('failing partitions', () => {
  const onPartition = (partition: number, name: string) => ({ ...record(name), partition })
  type Bound = ReturnType<typeof onPartition>
  /**
   * Simulates a Kafka that refuses a whole send if the send has a record of a failing partition.
   */
  const kafka = (failing: Set<number>, answer: () => Promise<void> = async () => {}) => {
    const sends: string[] = []
    const send = async (records: readonly Bound[]) => {
      sends.push(records.map(({ name }) => name).join(' '))
      await answer()
      if (records.some(({ partition }) => failing.has(partition))) throw unavailable()
    }
    const publisher = createPublisher(send, {
      ...limits,
      partitionOf: ({ partition }) => (partition < 0 ? undefined : partition),
    })
    return { publisher, sends }
  }

  it('if one partition of a flush fails, the records of the other partitions are stored', async () => {
    const { publisher } = kafka(new Set([1]))
    const outcomes = [0, 1, 2, 0].map((partition, i) =>
      publisher.publish(onPartition(partition, `${i}`), performance.now() + 150),
    )
    expect(await Promise.all(outcomes)).toEqual(['stored', 'deadline', 'stored', 'stored'])
    expect(publisher.failing).toBe(1)
    await released(publisher)
    expect(publisher.size).toEqual({ records: 0, bytes: 0 })
  })

  it('a failing partition is retried separately, and joins the shared queue after a success', async () => {
    const failing = new Set([1])
    const { publisher, sends } = kafka(failing)
    const first = [0, 1].map((partition) => publisher.publish(onPartition(partition, `first${partition}`), soon()))
    expect(await first[0]).toBe('stored')
    const second = [0, 1].map((partition) => publisher.publish(onPartition(partition, `second${partition}`), soon()))
    expect(await second[0]).toBe('stored')
    expect(sends.filter((names) => names.includes('0') && names.includes('1'))).toEqual(['first0 first1'])
    failing.clear()
    expect(await Promise.all([...first, ...second])).toEqual(Array(4).fill('stored'))
    // The records keep their order of arrival.
    expect(sends.at(-1)).toBe('first1 second1')
    // The partition becomes shared again only after each of its records has an outcome.
    await new Promise(setImmediate)
    expect(publisher.failing).toBe(0)
    await Promise.all([0, 1].map((partition) => publisher.publish(onPartition(partition, `third${partition}`), soon())))
    expect(sends.at(-1)).toBe('third0 third1')
  })

  it("waiting records of a failing partition move into the partition's own queue", async () => {
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let asked = 0
    const { publisher, sends } = kafka(new Set([1]), async () => gates[asked++]?.promise)
    const first = publisher.publish(onPartition(1, 'a'), performance.now() + 300)
    while (asked === 0) await new Promise(setImmediate)
    const waiting = publisher.publish(onPartition(1, 'b'), performance.now() + 300)
    const other = publisher.publish(onPartition(0, 'c'), soon())
    gates[0]?.resolve()
    while (asked < 3) await new Promise(setImmediate)
    gates[1]?.resolve()
    expect(await other).toBe('stored')
    expect(sends.slice(0, 3).toSorted()).toEqual(['a', expect.stringMatching(/^a( b)?$/), 'c'])
    expect(sends.filter((names) => names.includes('c'))).toEqual(['c'])
    expect(await Promise.all([first, waiting])).toEqual(['deadline', 'deadline'])
    await publisher.close()
  })

  it('a failing partition uses only a part of the queue, in records and in bytes', async () => {
    const failing = new Set([1])
    const send = async (records: readonly Bound[]) => {
      if (records.some(({ partition }) => failing.has(partition))) throw unavailable()
    }
    const publisher = createPublisher(send, {
      maxRecords: 10,
      maxBytes: 20_000,
      partitionOf: ({ partition }: Bound) => partition,
    })
    const publish = (partition: number, bytes = 1) =>
      publisher.publish({ ...record('r', bytes), partition }, performance.now() + 150)
    const first = publish(1)
    while (publisher.failing === 0) await new Promise(setImmediate)
    expect(publisher.fails({ ...record('r'), partition: 1 })).toBe(true)
    expect(await publish(1, 18_700)).toBe('queue-full')
    const more = Array.from({ length: 9 }, () => publish(1))
    expect(await publish(0)).toBe('stored')
    expect([await first, ...(await Promise.all(more))].toSorted()).toEqual([
      ...Array(5).fill('deadline'),
      ...Array(5).fill('queue-full'),
    ])
    failing.clear()
    while (publisher.size.records > 0) await new Promise(setImmediate)
    expect(await publish(1)).toBe('stored')
    // The partition becomes shared again only after each of its records has an outcome.
    await new Promise(setImmediate)
    expect(await Promise.all(Array.from({ length: 10 }, () => publish(1)))).toEqual(Array(10).fill('stored'))
    await publisher.close()
  })

  it('a failing partition stays isolated even when its queue is empty', async () => {
    const failing = new Set([1])
    const { publisher, sends } = kafka(failing)
    expect(await publisher.publish(onPartition(1, 'a'), performance.now() + 30)).toBe('deadline')
    while (publisher.size.records > 0) await new Promise(setImmediate)
    sends.length = 0
    const later = [0, 1].map((partition) =>
      publisher.publish(onPartition(partition, `later${partition}`), performance.now() + 30),
    )
    expect(await Promise.all(later)).toEqual(['stored', 'deadline'])
    expect(sends).toContain('later0')
    expect(sends).not.toContain('later0 later1')
    await publisher.close()
  })

  it('a failing partition does not delay records that may go to any partition', async () => {
    let sends = 0
    // All records without a key in one send go to one partition. The next send uses another
    // partition.
    const send = async (records: readonly Bound[]) => {
      if (records.some(({ partition }) => partition < 0) && sends++ === 0) throw unavailable()
    }
    const publisher = createPublisher(send, {
      ...limits,
      partitionOf: ({ partition }) => (partition < 0 ? undefined : partition),
    })
    expect(await publisher.publish(onPartition(-1, 'a'), soon())).toBe('stored')
    expect([sends, publisher.failing]).toEqual([2, 0])
  })

  it('records without a fixed partition do not delay the records of a partition', async () => {
    const stuck = Promise.withResolvers<void>()
    const send = async (records: readonly Bound[]) => {
      if (records.some(({ partition }) => partition < 0)) await stuck.promise
    }
    const publisher = createPublisher(send, {
      ...limits,
      partitionOf: ({ partition }) => (partition < 0 ? undefined : partition),
    })
    const anywhere = publisher.publish(onPartition(-1, 'a'), soon())
    expect(await publisher.publish(onPartition(0, 'b'), soon())).toBe('stored')
    stuck.resolve()
    expect(await anywhere).toBe('stored')
  })

  it('the publisher closes even while partitions fail', async () => {
    const { publisher } = kafka(new Set([0, 1, 2]))
    const outcomes = [0, 1, 2].map((partition, i) =>
      publisher.publish(onPartition(partition, `${i}`), performance.now() + 30),
    )
    await publisher.close()
    expect(await Promise.all(outcomes)).toEqual(Array(3).fill('deadline'))
    await released(publisher)
    expect(publisher.size).toEqual({ records: 0, bytes: 0 })
  })
})

describe('slow partitions', () => {
  const SLOW = 0
  type OnPartition = Named & { readonly partition: number }
  const on = (partition: number, bytes = 1): OnPartition => ({ ...record(`${partition}`, bytes), partition })
  /**
   * Simulates a Kafka that answers a send when all partitions of the send have answered. The slow
   * partition answers when the test calls `answerSlow` or `recover`.
   */
  const kafka = ({ maxRecords = 1000 } = {}) => {
    const waiting: (() => void)[] = []
    const sends: number[][] = []
    let isSlow = true
    const send = async (records: readonly OnPartition[]) => {
      sends.push(records.map(({ partition }) => partition))
      if (isSlow && records.some(({ partition }) => partition === SLOW))
        await new Promise<void>((resolve) => waiting.push(resolve))
    }
    const publisher = createPublisher(send, {
      ...limits,
      maxRecords,
      partitionOf: ({ partition }: OnPartition) => partition,
    })
    const answerSlow = () => {
      for (const answer of waiting.splice(0)) answer()
    }
    onTestFinished(async () => {
      isSlow = false
      answerSlow()
      await publisher.close()
    })
    const recover = () => {
      isSlow = false
      answerSlow()
    }
    return { publisher, sends, answerSlow, recover }
  }
  /** Resolves when the slow partition is isolated. */
  const isolated = async ({ publisher, sends }: ReturnType<typeof kafka>) => {
    const first = [SLOW, 1].map((partition) => publisher.publish(on(partition), soon()))
    await until(() => sends.length === 1)
    const second = [SLOW, 2].map((partition) => publisher.publish(on(partition), soon()))
    expect(await second[1]).toBe('stored')
    return [...first, ...second]
  }

  it('a slow partition delays no later record of other partitions', async () => {
    const setting = kafka()
    const outcomes = await isolated(setting)
    for (let i = 1; i < 12; i++) expect(await setting.publisher.publish(on(i), soon())).toBe('stored')
    expect(setting.sends.slice(1).filter((partitions) => partitions.includes(SLOW))).toEqual([[SLOW]])
    setting.recover()
    expect(await Promise.all(outcomes)).toEqual(Array(4).fill('stored'))
  })

  it('a partition counts as slow, not as failing, after a slow flush of its own', async () => {
    const pass = clock()
    const setting = kafka()
    const { publisher, sends, answerSlow } = setting
    await isolated(setting)
    expect([publisher.slow, publisher.failing]).toEqual([0, 0])
    await until(() => sends.some((partitions) => partitions.every((partition) => partition === SLOW)))
    pass(250)
    answerSlow()
    await until(() => publisher.slow === 1)
    expect([publisher.failing, publisher.fails(on(SLOW))]).toEqual([0, false])
  })

  it('a slow partition joins the shared queue again after a fast answer', async () => {
    const setting = kafka()
    const { publisher, sends, recover } = setting
    const outcomes = await isolated(setting)
    recover()
    await Promise.all(outcomes)
    // Each isolated partition of the slow flush needs one more flush before it is shared again.
    await Promise.all([SLOW, 1].map((partition) => publisher.publish(on(partition), soon())))
    // The partitions become shared again only after each of their records has an outcome.
    await new Promise(setImmediate)
    sends.length = 0
    await Promise.all([SLOW, 1].map((partition) => publisher.publish(on(partition), soon())))
    expect(sends).toEqual([[SLOW, 1]])
  })

  it('a slow partition uses only a part of the queue, however many records it gets', async () => {
    const setting = kafka({ maxRecords: 100 })
    const { publisher, sends, recover } = setting
    const outcomes = await isolated(setting)
    const many = Array.from({ length: 200 }, () => publisher.publish(on(SLOW), soon()))
    const others = Array.from({ length: 40 }, (_, i) => publisher.publish(on(1 + (i % 11)), soon()))
    expect(await Promise.all(others)).toEqual(Array(40).fill('stored'))
    recover()
    expect(new Set(await Promise.all(many))).toEqual(new Set(['stored', 'queue-full']))
    await Promise.all(outcomes)
    expect(sends.flat().length).toBeGreaterThan(80)
  })
})

describe('outages', () => {
  const setUp = () => {
    const failing = new Set([0, 1, 2])
    const sends: string[] = []
    const send = async (records: readonly (Named & { readonly partition: number })[]) => {
      sends.push(records.map(({ name }) => name).join(' '))
      if (records.some(({ partition }) => failing.has(partition))) throw unavailable()
    }
    const publisher = createPublisher(send, {
      ...limits,
      partitionOf: ({ partition }: Named & { partition: number }) => partition,
    })
    onTestFinished(() => publisher.close())
    const publish = (partition: number, deadlineAt: number, bytes = 1) =>
      publisher.publish({ ...record(`${partition}:${bytes}`, bytes), partition }, deadlineAt)
    /**
     * Publishes one record to each failing partition. Resolves when all records have their outcome.
     */
    const fail = () => Promise.all([...failing].map((partition) => publish(partition, performance.now() + 50)))
    return { publisher, publish, fail, failing, sends }
  }
  const outage = { partitions: 3, error: expect.objectContaining({ message: 'down' }) }

  it('an outage is reported ten seconds after its first failure, with the error', async () => {
    const pass = clock()
    const { publisher, publish, fail } = setUp()
    expect(await publish(3, soon())).toBe('stored')
    pass(3_600_000)
    await fail()
    expect([publisher.failing, publisher.outage]).toEqual([3, undefined])
    pass(11_000)
    expect(publisher.outage).toEqual(outage)
  })

  it('an outage lasts until Kafka stores a record, even if no new record arrives', async () => {
    const pass = clock()
    const { publisher, fail, failing, sends } = setUp()
    await fail()
    pass(3_600_000)
    await released(publisher)
    expect([publisher.failing, publisher.outage]).toEqual([3, outage])
    failing.clear()
    await until(() => publisher.failing === 0)
    expect(publisher.outage).toBeUndefined()
    expect(sends.slice(-3).toSorted()).toEqual(['0:1', '1:1', '2:1'])
  })

  it('no outage is reported if a partition stores records while others fail', async () => {
    const pass = clock()
    const { publisher, publish, fail, sends } = setUp()
    await fail()
    pass(11_000)
    expect(await publish(3, soon())).toBe('stored')
    const attempts = sends.length
    // Wait until the probes of these partitions have failed again.
    await until(() => ['0:1', '1:1', '2:1'].every((probe) => sends.includes(probe, attempts)))
    pass(3_600_000)
    expect([publisher.failing, publisher.outage]).toEqual([3, undefined])
  })

  it('if Kafka stores a slow flush while the partition fails, an outage is reported later', async () => {
    const pass = clock()
    const { send, sent } = manualSend()
    const publisher = createPublisher(send, { ...limits, partitionOf: () => 0 })
    onTestFinished(() => publisher.close(performance.now()))
    publisher.publish(record('slow'), soon())
    const slow = await sent(1)
    pass(1000)
    const second = publisher.publish(record('second'), soon())
    const failing = await sent(2)
    failing.fail(unavailable())
    await until(() => publisher.failing === 1)
    pass(1000)
    slow.succeed()
    await new Promise(setImmediate)
    pass(9000)
    expect(publisher.outage).toBeUndefined()
    pass(2000)
    expect(publisher.outage).toMatchObject({ partitions: 1 })
    ;(await sent(3)).succeed()
    expect(await second).toBe('stored')
    expect(publisher.outage).toBeUndefined()
  })

  it('records that arrived before the number of partitions was known move to their partitions', async () => {
    const pass = clock()
    let isKnown = false
    const sends: string[][] = []
    const send = async (records: readonly Named[]) => {
      sends.push(records.map(({ name }) => name))
      if (!isKnown || records.some(({ name }) => name === '3')) throw unavailable()
    }
    const partitionOf = ({ name }: Named) => (isKnown ? Number(name) : undefined)
    const publisher = createPublisher(send, { ...limits, partitionOf })
    onTestFinished(() => publisher.close(performance.now()))
    const [probe, waiting] = [
      publisher.publish(record('3'), performance.now() + 1),
      publisher.publish(record('4'), soon()),
    ]
    expect(await probe).toBe('deadline')
    isKnown = true
    expect(await waiting).toBe('stored')
    await until(() => sends.length > 4)
    pass(11_000)
    expect([publisher.size.records, publisher.failing]).toEqual([0, 1])
    expect(publisher.outage?.partitions).not.toBe(Number.POSITIVE_INFINITY)
  })

  it('a failing partition is retried with the smallest record whose request already has its answer', async () => {
    const { publisher, publish, failing, sends } = setUp()
    const sizes = [300, 100, 200]
    const deadlineAt = performance.now() + 50
    await Promise.all(sizes.map((bytes) => publish(0, deadlineAt, bytes)))
    await released(publisher)
    expect(publisher.failing).toBe(1)
    failing.clear()
    await until(() => publisher.failing === 0)
    expect(sends.at(-1)).toBe('0:100')
  })
})

describe('close', () => {
  it('`close` answers each record by its deadline, even if the deadline of the record is later', async () => {
    const publisher = createPublisher(() => new Promise<void>(() => {}), limits)
    const outcome = publisher.publish(record('a'), soon())
    // The record's own deadline is a minute away.
    await publisher.close(performance.now() + 50)
    expect(await outcome).toBe('deadline')
  })
})

it('minor garbage collections free the records that Kafka has stored', async () => {
  const { send, sent } = manualSend()
  const publisher = createPublisher(send, limits)
  const publish = (i: number) =>
    publisher.publish(Object.assign(record(`${i}`), { load: new Array(5000).fill(i) }), soon())
  let before = publish(0)
  const bytes = await promotedBytes(300, async (i) => {
    const next = publish(i)
    const flush = await sent(i + 1)
    flush.succeed()
    await before
    before = next
  })
  expect(bytes).toBeLessThan(1_000_000)
})
