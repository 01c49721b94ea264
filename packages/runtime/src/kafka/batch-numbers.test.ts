import { expect, it, onTestFinished, vi } from 'vitest'
import { createNumbering, type NumberedBatch } from './batch-numbers.ts'

/** Returns a numbering, and the partitions for which it has requested an epoch. */
const numbering = () => {
  const requested: string[] = []
  const numbers = createNumbering(async (topic, partition) => {
    requested.push(`${topic}/${partition}`)
    return { producerId: 1000n, epoch: requested.length }
  })
  return { ...numbers, requested }
}
const numbersOf = ({ numbers }: NumberedBatch) => numbers

it('the sequence numbers of a partition continue from batch to batch', async () => {
  const { next, requested } = numbering()
  expect(numbersOf(await next('t', 0, 3))).toEqual({ producerId: 1000n, epoch: 1, sequence: 0 })
  expect(numbersOf(await next('t', 0, 2))).toEqual({ producerId: 1000n, epoch: 1, sequence: 3 })
  expect(numbersOf(await next('t', 1, 1))).toEqual({ producerId: 1000n, epoch: 2, sequence: 0 })
  expect(requested).toEqual(['t/0', 't/1'])
})

it('concurrent first batches of a partition share an epoch, and have different sequence numbers', async () => {
  const { next, requested } = numbering()
  const [one, other] = await Promise.all([next('t', 0, 2), next('t', 0, 1)])
  expect([one.numbers.sequence, other.numbers.sequence]).toEqual([0, 2])
  expect(requested).toEqual(['t/0'])
})

it('after an abandoned batch, its partition begins a new epoch, but other partitions do not', async () => {
  const { next } = numbering()
  const [batch] = [await next('t', 0, 3), await next('t', 1, 3)]
  batch.abandon()
  expect(numbersOf(await next('t', 0, 1))).toEqual({ producerId: 1000n, epoch: 3, sequence: 0 })
  expect(numbersOf(await next('t', 1, 1))).toEqual({ producerId: 1000n, epoch: 2, sequence: 3 })
})

it('two abandoned batches of one epoch cause only one new epoch', async () => {
  const { next, requested } = numbering()
  const batches = [await next('t', 0, 1), await next('t', 0, 1)]
  batches[0]?.abandon()
  await next('t', 0, 1)
  batches[1]?.abandon()
  expect(numbersOf(await next('t', 0, 1))).toMatchObject({ epoch: 2, sequence: 1 })
  expect(requested).toHaveLength(2)
})

it('after all epochs are abandoned, each partition begins a new epoch', async () => {
  const { next, abandonAll } = numbering()
  await next('t', 0, 3)
  await next('t', 1, 3)
  abandonAll()
  expect(numbersOf(await next('t', 0, 1))).toMatchObject({ epoch: 3, sequence: 0 })
  expect(numbersOf(await next('t', 1, 1))).toMatchObject({ epoch: 4, sequence: 0 })
})

it('a batch that would exceed the largest sequence number begins a new epoch', async () => {
  const { next } = numbering()
  await next('t', 0, 2 ** 31 - 2)
  expect(numbersOf(await next('t', 0, 1))).toMatchObject({ epoch: 1, sequence: 2 ** 31 - 2 })
  expect(numbersOf(await next('t', 0, 1))).toMatchObject({ epoch: 2, sequence: 0 })
})

it('an epoch ends after a day, because Kafka later forgets the transactional id', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const { next } = numbering()
  await next('t', 0, 1)
  vi.advanceTimersByTime(86_399_999)
  expect(numbersOf(await next('t', 0, 1))).toMatchObject({ epoch: 1, sequence: 1 })
  vi.advanceTimersByTime(1)
  expect(numbersOf(await next('t', 0, 1))).toMatchObject({ epoch: 2, sequence: 0 })
})

it('a failed request for an epoch is repeated by the next batch', async () => {
  const answers = [
    () => Promise.reject(new Error('not available')),
    () => Promise.resolve({ producerId: 7n, epoch: 0 }),
  ]
  const { next } = createNumbering(() => answers.shift()!())
  await expect(next('t', 0, 1)).rejects.toThrow('not available')
  expect(numbersOf(await next('t', 0, 1))).toEqual({ producerId: 7n, epoch: 0, sequence: 0 })
})
