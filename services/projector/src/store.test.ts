import type { Redis } from '@customer-stream/runtime/redis'
import { expect, it } from 'vitest'
import { createStore } from './store.ts'

const answering = (replies: unknown) => {
  const client = { defineCommand() {}, applySnapshots: async () => replies } as unknown as Redis
  return createStore(client, { keyPrefix: 'k:', topic: 't', projection: 1 })
}
const customer = { customerUuid: 'c', version: { timestamp: 1, id: 'e' }, fieldsAndValues: [] }

it.each([
  ['an unknown number', [1, 7]],
  ['nothing', [1, null]],
  ['too short', [1]],
  ['an unknown state', [9, 1]],
  ['empty', []],
])('a call fails if the reply of the script is %s', async (_, replies) => {
  await expect(answering(replies).applyChunk([customer], 0, '1', '2')).rejects.toThrow('apply-snapshots.lua replied')
})
