import { expect, it, vi } from 'vitest'
import { createChangeLog } from './change-log.ts'
import { createDispatch } from './dispatch.ts'

it('at each heartbeat, the log frees documents that streams have parsed again', () => {
  const log = createChangeLog({ maxChanges: 10, maxBytes: 1e6 })
  log.begin('', new Map([[0, '0']]))
  const record = (offset: string) => ({ offset, timestamp: '0', key: Buffer.from('c'), value: null })
  log.add(0, { records: [record('0'), record('1')], nextOffset: '2' })
  const dispatch = createDispatch(log)
  dispatch.passAll()
  const freed = [0, 1].map((number) => vi.spyOn(log.at(number).change, 'forgetDocument'))
  dispatch.passAll()
  expect(freed.map(({ mock }) => mock.calls.length)).toEqual([1, 1])
})
