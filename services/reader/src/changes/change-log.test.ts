import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { waitUntil } from '@customer-stream/runtime'
import { expect, it } from 'vitest'
import { createChangeLog } from './change-log.ts'
import { readPosition } from './stream-position.ts'

it('the log frees the memory of removed changes, however large they are', async () => {
  setFlagsFromString('--expose-gc')
  const collectGarbage: () => void = runInNewContext('gc')
  const used = () => {
    collectGarbage()
    return process.memoryUsage().arrayBuffers
  }
  const size = 1024 * 1024
  const log = createChangeLog({ maxChanges: 10_000, maxBytes: 10 * size })
  log.begin('', new Map([[0, '0']]))
  const before = used()
  for (let offset = 0; offset < 100; offset++) {
    const record = {
      offset: `${offset}`,
      timestamp: '0',
      key: Buffer.from('c'),
      value: Buffer.alloc(size),
      headers: {},
    }
    log.add(0, { records: [record], nextOffset: `${offset + 1}` })
  }
  expect([log.first, log.end]).toEqual([91, 100])
  // V8 frees the memory of buffers some time after the garbage collection.
  await waitUntil(
    'the memory of the removed changes is free',
    async () => used() - before,
    (bytes) => bytes < 15 * size,
  )
})

it('the id of a change has the next offset of each partition, even of an added partition without records', () => {
  const log = createChangeLog({ maxChanges: 10, maxBytes: 1e6 })
  log.begin('abcdef01', new Map([[0, '7']]))
  const record = { offset: '3', timestamp: '0', key: Buffer.from('c'), value: null }
  log.add(2, { records: [record], nextOffset: '4' })
  expect([log.id, log.at(log.first).id].map((id) => readPosition(id)?.offsets)).toEqual(Array(2).fill([7, 0, 4]))
  expect([log.offsets, log.missingFor([7, 0, 4]), log.missingFor([7])]).toEqual([[7, 0, 4], undefined, undefined])
})
