import type { Action } from '@customer-stream/quarantine'
import { expect, it, onTestFinished, vi } from 'vitest'
import { KafkaUnavailableError } from '../kafka.ts'
import { createQuarantine, type QuarantineDependencies, RedriveError } from './quarantine.ts'
import type { Redriven } from './redrive.ts'
import { newestFirst, type RecordFacts, type Tail } from './tail.ts'

const PLACE = { partition: 0, offset: '5' }
const factsAt = (offset: number, receivedAt: number, reason = 'not-json'): RecordFacts => ({
  partition: 0,
  offset: String(offset),
  receivedAt,
  reason,
  stage: 'ingress',
  source: undefined,
  bytes: 1,
  origin: undefined,
})

const open = ({
  action,
  redrive,
  records = [],
}: {
  readonly action?: Action
  readonly redrive?: QuarantineDependencies['redrive']
  readonly records?: readonly RecordFacts[]
}) => {
  const tail: Tail = {
    topicId: 'a',
    hasAudit: true,
    watermarks: new Map(),
    records: [...records].sort(newestFirst),
    isCut: false,
    actionFor: () => action,
    entriesOf: async () => [],
  }
  let calls = 0
  const quarantine = createQuarantine({
    kafka: { ask: (_, question) => question() },
    tail: { refresh: async () => tail, refreshAgain: async () => tail },
    reader: {
      topic: 't.quarantine',
      countPartitions: async () => 2,
      watermarks: async () => new Map([[0, { low: '3', high: '9', stable: '9' }]]),
      offsetAt: async () => 0,
      read: async (_, offset) => ({
        records: [{ offset: String(offset), timestamp: '7', key: null, value: Buffer.from('{'), headers: {} }],
        nextOffset: String(offset + 1),
      }),
    },
    redrive: async (request) => {
      calls += 1
      return redrive ? redrive(request) : { outcome: 'redriven' }
    },
    explain: (error) => error.message,
  })
  return { quarantine, calls: () => calls }
}

it('pages of quarantine have each record once, although new records arrive', async () => {
  const records = [factsAt(1, 10), factsAt(2, 10), factsAt(3, 30), factsAt(4, 20, 'not-utf8')]
  const { quarantine } = open({ records })
  const first = await quarantine.list({ reason: undefined, after: undefined, limit: 2 })
  expect([first.records.map(({ offset }) => offset), first.hasMore]).toEqual([['3', '4'], true])
  const later = open({ records: [...records, factsAt(5, 40)] }).quarantine
  const second = await later.list({ reason: undefined, after: first.records[1], limit: 2 })
  expect([second.records.map(({ offset }) => offset), second.hasMore]).toEqual([['2', '1'], false])
  const named = await quarantine.list({ reason: 'not-utf8', after: undefined, limit: 2 })
  expect(named.records.map(({ offset }) => offset)).toEqual(['4'])
})

it.each(['2', '9'])('no record is found or redriven at an offset outside the partition: %s', async (offset) => {
  const { quarantine, calls } = open({})
  expect(await quarantine.read({ partition: 0, offset })).toBeUndefined()
  expect(await quarantine.redrive({ partition: 0, offset }, 'ops')).toBeUndefined()
  expect(calls()).toBe(0)
})

it('a record of a partition without a leader is not reported as missing, and is not redriven', async () => {
  const { quarantine, calls } = open({})
  const place = { partition: 1, offset: '5' }
  await expect(quarantine.read(place)).rejects.toThrow(KafkaUnavailableError)
  await expect(quarantine.redrive(place, 'ops')).rejects.toThrow('t.quarantine/1 has no leader')
  expect([await quarantine.read({ partition: 2, offset: '5' }), calls()]).toEqual([undefined, 0])
})

it('a redriven record is not redriven again, but a dropped record is', async () => {
  const redriven = open({ action: 'redriven' })
  expect(await redriven.quarantine.redrive(PLACE, 'ops')).toEqual({ outcome: 'handled-before' })
  expect(redriven.calls()).toBe(0)
  expect(await open({ action: 'dropped' }).quarantine.redrive(PLACE, 'ops')).toEqual({ outcome: 'redriven' })
})

it('a second redrive is refused until the first redrive has ended', async () => {
  const { promise, resolve } = Promise.withResolvers<Redriven>()
  const { quarantine, calls } = open({ redrive: () => promise })
  const first = quarantine.redrive(PLACE, 'ops')
  await expect(quarantine.redrive(PLACE, 'ops')).rejects.toThrow('Another redrive is running.')
  resolve({ outcome: 'redriven' })
  expect(await first).toEqual({ outcome: 'redriven' })
  await quarantine.redrive(PLACE, 'ops')
  expect(calls()).toBe(2)
})

it('a redrive that fails says whether the record may be stored', async () => {
  const { quarantine } = open({
    redrive: async ({ onUncertain }) => {
      onUncertain('It may be stored.')
      throw new Error('no answer')
    },
  })
  const failed = quarantine.redrive(PLACE, 'ops')
  await expect(failed).rejects.toThrow(new RedriveError('It may be stored. no answer', false))
  await expect(quarantine.redrive(PLACE, 'ops')).rejects.toThrow('no answer')
})

it('a slow redrive is reported as running, and no other redrive starts before its end', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const { promise, resolve } = Promise.withResolvers<Redriven>()
  const { quarantine, calls } = open({ redrive: () => promise })
  const late = expect(quarantine.redrive(PLACE, 'ops')).rejects.toThrow('The redrive still runs')
  await vi.advanceTimersByTimeAsync(20_000)
  await late
  await expect(quarantine.redrive(PLACE, 'ops')).rejects.toThrow('Another redrive is running.')
  resolve({ outcome: 'redriven' })
  await vi.advanceTimersByTimeAsync(0)
  expect(await quarantine.redrive(PLACE, 'ops')).toEqual({ outcome: 'redriven' })
  expect(calls()).toBe(2)
})
