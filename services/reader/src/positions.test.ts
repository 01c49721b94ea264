import type { RedisClient } from '@customer-stream/runtime/redis'
import { expect, it } from 'vitest'
import { createPositions } from './positions.ts'

it('during a lookahead window, a partition is complete only up to the start of the window', async () => {
  const found = async (position: string, window: string) => {
    const hash = { 'raw/3': position, 'raw/3#window': window }
    const positions = createPositions({ hgetall: async () => hash } as unknown as RedisClient, {
      keyPrefix: '',
      projection: 1,
    })
    const progress = await positions.readProgress('raw')
    const { nextOffset } = await positions.read()
    return [progress?.positions.get(3), progress?.complete.get(3), nextOffset('raw', 3)]
  }
  expect(await found('7', '5/9')).toEqual([7n, 5n, 5])
  expect(await found('9', '5/9')).toEqual([9n, 9n, 9])
  expect(await found('5', '5/9')).toEqual([5n, 5n, 5])
  expect(await found('4', '5/9')).toEqual([4n, 4n, 4])
})
