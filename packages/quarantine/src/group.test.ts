import { NotStoredError, type OutgoingRecord } from '@customer-stream/runtime/kafka'
import { describe, expect, it } from 'vitest'
import { readEntry } from './audit.ts'
import { createGroup, type GroupOptions } from './group.ts'
import type { QuarantinedRecord } from './record.ts'

const AUDIT = 't.quarantine.audit'
const RAW = 't.customers.raw'
const DENIED = 'TOPIC_AUTHORIZATION_FAILED'

const recordAt = (offset: number, bytes = 1): QuarantinedRecord => ({
  partition: 2,
  offset: String(offset),
  receivedAt: 1,
  reason: 'not-utf8',
  stage: 'ingress',
  source: undefined,
  key: null,
  value: Buffer.alloc(bytes, String(offset % 10)),
  headers: {},
})
const toRaw = (record: QuarantinedRecord): OutgoingRecord => ({
  topic: RAW,
  key: null,
  value: record.value,
  timestamp: 1,
})

/**
 * Opens a group whose producer fails if `failure` returns an error. Returns the group, and lists
 * that describe its sends and its reports.
 */
const openGroup = (
  failure: (records: readonly OutgoingRecord[]) => Error | undefined = () => undefined,
  rate = 1e6,
  recheck?: GroupOptions['recheck'],
) => {
  const calls: string[] = []
  const refused: string[] = []
  const unaudited: string[] = []
  const send = async (records: readonly OutgoingRecord[]) => {
    const error = failure(records)
    if (error) throw error
    const places = records.map(({ topic, value }) =>
      topic === AUDIT ? readEntry(value)?.offset : value?.toString()[0],
    )
    calls.push(`${records[0]?.topic}: ${places.join(' ')}`)
  }
  const unacknowledged: string[] = []
  const group = createGroup({
    producer: { send, partitionOf: ({ value }) => (value?.length === 2 ? 1 : 0) },
    requestedBy: 'ops',
    rate,
    audit: { topicId: 'a1' },
    auditTopic: AUDIT,
    action: 'redriven',
    signal: new AbortController().signal,
    onRefused: ({ offset }, why) => refused.push(`${offset} ${why}`),
    onUnaudited: (first, last) => unaudited.push(`${first.offset} ${last.offset}`),
    onUnacknowledged: (first, last) => unacknowledged.push(`${first.offset} ${last.offset}`),
    recheck,
  })
  return { group, calls, refused, unaudited, unacknowledged }
}
const addAll = async (group: ReturnType<typeof createGroup>, records: readonly QuarantinedRecord[]) => {
  for (const record of records) await group.add({ record, send: toRaw(record) })
}
const refusal = new NotStoredError('refused', new Error('MESSAGE_TOO_LARGE'))

describe('a group of records', () => {
  it('a group writes its audit entries only after Kafka has stored the records', async () => {
    const { group, calls } = openGroup()
    await addAll(group, [recordAt(1), recordAt(2)])
    expect([calls, group.done]).toEqual([[], 0])
    await group.flush()
    expect(calls).toEqual([`${RAW}: 1 2`, `${AUDIT}: 1 2`])
    expect([group.done, group.last?.offset]).toEqual([2, '2'])
  })

  it('an audit entry names the original of its record', async () => {
    const entries: unknown[] = []
    const { group } = openGroup((records) => {
      if (records[0]?.topic === AUDIT) entries.push(...records.map(({ value }) => readEntry(value)?.origin))
      return undefined
    })
    const headers = { topic: RAW, partition: '5', offset: '47' }
    await addAll(group, [{ ...recordAt(1), headers }, recordAt(2)])
    await group.flush()
    expect(entries).toEqual([`${RAW}/5/47@1`, undefined])
  })

  it('if Kafka refuses a record, the record gets no audit entry', async () => {
    const isRefused = ({ topic, value }: OutgoingRecord) => topic === RAW && value?.toString() === '2'
    const { group, calls, refused } = openGroup((records) => (records.some(isRefused) ? refusal : undefined))
    await addAll(group, [recordAt(1), recordAt(2), recordAt(3)])
    await group.flush()
    expect(calls).toEqual([`${RAW}: 1`, `${RAW}: 3`, `${AUDIT}: 1 3`])
    expect([refused, group.done]).toEqual([['2 MESSAGE_TOO_LARGE'], 2])
  })

  it('a refusal is reported for the refused record, even if another record of the group is not sent', async () => {
    const { group, calls, refused } = openGroup(([first]) => (first?.topic === RAW ? refusal : undefined))
    await group.add({ record: recordAt(1), send: undefined })
    await addAll(group, [recordAt(2)])
    await group.flush()
    expect(refused).toEqual(['2 MESSAGE_TOO_LARGE'])
    expect(calls).toEqual([`${AUDIT}: 1`])
  })

  it('a group reports records that were sent but may have no audit entry', async () => {
    const { group, unaudited } = openGroup((records) => (records[0]?.topic === AUDIT ? refusal : undefined))
    await addAll(group, [recordAt(1), recordAt(2)])
    await expect(group.flush()).rejects.toThrow('MESSAGE_TOO_LARGE')
    expect([unaudited, group.done, group.last]).toEqual([['1 2'], 0, undefined])
  })

  it('if Kafka does not acknowledge the records of a partition, only the other records count as sent', async () => {
    const denied = new NotStoredError('unavailable', Object.assign(new Error('no right'), { type: DENIED }))
    const { group, calls, unacknowledged } = openGroup((records) =>
      records.some(({ value }) => value?.length === 2) ? denied : undefined,
    )
    await addAll(group, [recordAt(8), recordAt(9, 2), recordAt(10)])
    await expect(group.flush()).rejects.toThrow('no right')
    expect(calls).toEqual([`${RAW}: 8 0`, `${AUDIT}: 8 10`])
    expect([unacknowledged, group.done]).toEqual([['9 9'], 2])
  })

  it('before a send, a group checks again whether each record may be sent', async () => {
    const { group, calls } = openGroup(undefined, undefined, async (waiting) =>
      waiting.filter(({ record }) => record.offset !== '2'),
    )
    await addAll(group, [recordAt(1), recordAt(2), recordAt(3)])
    await group.flush()
    expect(calls).toEqual([`${RAW}: 1 3`, `${AUDIT}: 1 3`])
  })

  it('a group sends each large record in its own request', async () => {
    const { group, calls } = openGroup()
    await addAll(group, [recordAt(1, 400_000), recordAt(2, 400_000), recordAt(3, 2_000_000)])
    await group.flush()
    expect(calls.filter((call) => call.startsWith(RAW))).toEqual([`${RAW}: 1`, `${RAW}: 2`, `${RAW}: 3`])
  })

  it('a group sends at most 100 records at once, so that at most 100 records are sent again after a kill', async () => {
    const { group, calls } = openGroup()
    await addAll(
      group,
      Array.from({ length: 250 }, (_, i) => recordAt(i)),
    )
    await group.flush()
    expect(calls.map((call) => call.split(' ').length - 1)).toEqual([100, 100, 100, 100, 50, 50])
  })

  it('a group pauses after a send, so that the given rate is kept', async () => {
    const { group } = openGroup(undefined, 100)
    const begunAt = performance.now()
    await addAll(
      group,
      Array.from({ length: 10 }, (_, i) => recordAt(i)),
    )
    await group.flush()
    expect(performance.now() - begunAt).toBeGreaterThan(95)
  })
})
