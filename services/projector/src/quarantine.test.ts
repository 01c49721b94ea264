import { NotStoredError, type OutgoingRecord } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import { quarantineRecord, sendToQuarantine } from './quarantine.ts'

const record = (key: string): OutgoingRecord => ({
  topic: 'q',
  key: Buffer.from(key),
  value: Buffer.from(`value of ${key}`),
  timestamp: 1,
  headers: { reason: 'not-json', detail: 'a long story' },
})
/** Creates a fake Kafka. `fate` returns the reason why a record is not stored. */
const kafka = (fate: (record: OutgoingRecord) => 'refused' | 'unavailable' | undefined) => {
  const stored: OutgoingRecord[] = []
  const send = async (records: readonly OutgoingRecord[]) => {
    const kind = records.map(fate).find((found) => found !== undefined)
    if (kind) throw new NotStoredError(kind, kind)
    stored.push(...records)
  }
  return { send, stored }
}

it('if Kafka refuses a quarantine record, only this record is sent without key and detail', async () => {
  const { send, stored } = kafka(({ key }) => (String(key) === 'too long' ? 'refused' : undefined))
  await sendToQuarantine(send, [record('a'), record('too long'), record('b')])
  expect(stored).toEqual([
    record('a'),
    { ...record('too long'), key: null, headers: { reason: 'not-json' } },
    record('b'),
  ])
})

it('if Kafka refuses the value of a quarantine record, only its headers are sent', async () => {
  const { send, stored } = kafka(({ value }) => (value ? 'refused' : undefined))
  await sendToQuarantine(send, [record('a')])
  const detail = expect.stringContaining('the headers say where the record is')
  expect(stored).toEqual([{ ...record('a'), key: null, value: null, headers: { reason: 'not-json', detail } }])
})

it('if a partition of quarantine is unavailable, records go to any partition and keep their keys', async () => {
  const { send, stored } = kafka(({ key, anyPartition }) =>
    String(key) === 'a' && !anyPartition ? 'unavailable' : undefined,
  )
  await sendToQuarantine(send, [record('a'), record('b')])
  expect(stored).toEqual([
    { ...record('a'), anyPartition: true },
    { ...record('b'), anyPartition: true },
  ])
})

it('a send to quarantine fails in an outage, even if the outage begins between two attempts', async () => {
  let sends = 0
  const { send, stored } = kafka(() => (sends++ === 0 ? 'refused' : 'unavailable'))
  await expect(sendToQuarantine(send, [record('a')])).rejects.toMatchObject({ kind: 'unavailable' })
  expect(stored).toEqual([])
})

it('the quarantine record of a raw record has the trace context of the raw record', () => {
  const trace = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=1' }
  const raw = { offset: '7', timestamp: '1', key: null, value: null, headers: { ...trace, foreign: 'x' } }
  const { headers } = quarantineRecord(
    { record: raw, reason: 'not-json', detail: 'd' },
    { topic: 't', partition: 0 },
    'q',
  )
  expect(headers).toMatchObject(trace)
  expect(headers).not.toHaveProperty('foreign')
})
