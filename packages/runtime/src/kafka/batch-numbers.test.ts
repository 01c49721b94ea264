import { expect, it } from 'vitest'
import { createNumbering } from './batch-numbers.ts'

/** Returns a numbering, and the producer ids that it has requested. */
const numbering = () => {
  const requested: bigint[] = []
  const numbers = createNumbering(async () => {
    const id = BigInt(1000 + requested.length)
    requested.push(id)
    return id
  })
  return { ...numbers, requested }
}

it('the sequence numbers of a partition continue from batch to batch', async () => {
  const { next } = numbering()
  expect(await next('t/0', 3)).toEqual({ producerId: 1000n, epoch: 0, sequence: 0 })
  expect(await next('t/0', 2)).toEqual({ producerId: 1000n, epoch: 0, sequence: 3 })
  expect(await next('t/1', 1)).toEqual({ producerId: 1000n, epoch: 0, sequence: 0 })
})

it('concurrent first batches of a partition share the producer id, and have different numbers', async () => {
  const { next, requested } = numbering()
  const [one, other] = await Promise.all([next('t/0', 1), next('t/0', 1)])
  expect([one.sequence, other.sequence]).toEqual([0, 1])
  expect(requested).toEqual([1000n])
})

it('after an abandoned batch, its partition begins a new epoch, and other partitions do not', async () => {
  const { next, abandon } = numbering()
  const [batch] = [await next('t/0', 3), await next('t/1', 3)]
  abandon('t/0', batch)
  expect(await next('t/0', 1)).toEqual({ producerId: 1000n, epoch: 1, sequence: 0 })
  expect(await next('t/1', 1)).toEqual({ producerId: 1000n, epoch: 0, sequence: 3 })
})

it('two abandoned batches of one epoch begin one new epoch', async () => {
  const { next, abandon } = numbering()
  const batches = [await next('t/0', 1), await next('t/0', 1)]
  for (const batch of batches) abandon('t/0', batch)
  expect(await next('t/0', 1)).toMatchObject({ epoch: 1, sequence: 0 })
})

it('after the last epoch, a partition continues with another producer id', async () => {
  const { next, abandon } = numbering()
  for (let epoch = 0; epoch <= 32_767; epoch++) {
    const batch = await next('t/0', 1)
    expect(batch).toEqual({ producerId: 1000n, epoch, sequence: 0 })
    abandon('t/0', batch)
  }
  expect(await next('t/0', 1)).toEqual({ producerId: 1001n, epoch: 0, sequence: 0 })
})

it('a batch that would exceed the largest sequence number begins a new epoch', async () => {
  const { next } = numbering()
  await next('t/0', 2 ** 31 - 2)
  expect(await next('t/0', 1)).toMatchObject({ epoch: 0, sequence: 2 ** 31 - 2 })
  expect(await next('t/0', 1)).toMatchObject({ epoch: 1, sequence: 0 })
})

it('a failed request for a producer id is repeated by the next batch', async () => {
  const answers = [() => Promise.reject(new Error('not available')), () => Promise.resolve(7n)]
  const { next } = createNumbering(() => answers.shift()!())
  await expect(next('t/0', 1)).rejects.toThrow('not available')
  expect(await next('t/0', 1)).toEqual({ producerId: 7n, epoch: 0, sequence: 0 })
})
