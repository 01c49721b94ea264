import { expect, it } from 'vitest'
import { remainsLines } from './print-remains.ts'
import type { Remains, TopicRemains } from './remains.ts'

const CLEAR = '\u001b[2J'
const remainsWith = (topics: readonly TopicRemains[]): Remains => ({
  customerUuid: `c${CLEAR}`,
  erasure: { erasedAt: 0, scope: 'forever', requestedBy: `ops${CLEAR}`, reason: `letter\n7${CLEAR}` },
  redis: { hash: false, mark: true, entries: 0 },
  topics,
})
const linesOf = (topic: TopicRemains) => remainsLines(remainsWith([topic]), { stateTopic: 'state' })

it('no text of a customer or of an erasure can control the terminal', () => {
  const [first] = linesOf({ topic: 't', records: 0, unreadable: 0, keepsFor: 'forever' })
  expect(first).toBe(
    'customer c\\u{1b}[2J was erased at 1970-01-01T00:00:00.000Z, scope forever, requested by ops\\u{1b}[2J: ' +
      'letter\\u{a}7\\u{1b}[2J',
  )
})

it.each<[TopicRemains['keepsFor'], string]>([
  ['forever', ' forever, because its retention is unlimited'],
  ['compaction', ' until Kafka compacts the topic; max.compaction.lag.ms sets no time limit'],
  ['unknown', '; how long is unknown, because this user may not read the settings of the topic'],
  [60_000, " until 1970-01-01 00:02 UTC, plus the time until the next run of Kafka's cleaner"],
])('erase says how long a topic keeps its records (time limit: %s)', (keepsFor, until) => {
  const lines = linesOf({ topic: 't', records: 2, newestAt: 60_000, unreadable: 0, keepsFor })
  expect(lines).toContain(`  ${'t'.padEnd(36)}✘ keeps 2 records${until}`)
})

it('erase shows index entries that are not removed yet', () => {
  const remains = { ...remainsWith([]), redis: { hash: false, mark: true, entries: 2 } }
  const lines = remainsLines(remains, { stateTopic: 'state' })
  expect(lines).toContain(`  ${'Redis, indexes'.padEnd(36)}✘ may have 2 entries until a projector runs`)
  expect(lines).toContain('The erasure is not complete.')
})

it('the status of a customer who was never erased mentions no erasure', () => {
  const redis = { hash: false, mark: false, entries: 0 }
  const topic = { topic: 't', records: 0, unreadable: 0, keepsFor: 'forever' } as const
  const lines = remainsLines({ ...remainsWith([topic]), erasure: null, redis }, { stateTopic: 'state' })
  expect(lines.slice(1, -1)).toEqual([
    `  ${'Redis'.padEnd(36)}✔ has no data of the customer`,
    `  ${'Redis, mark'.padEnd(36)}✘ is missing: nothing was erased`,
    `  ${'t'.padEnd(36)}✔ has no data of the customer`,
    'The customer was never erased, and there is no data of the customer. Check the id.',
  ])
})
