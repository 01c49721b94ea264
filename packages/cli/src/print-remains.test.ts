import { expect, it } from 'vitest'
import { remainsLines } from './print-remains.ts'
import type { Remains, TopicRemains } from './remains.ts'

const CLEAR = '\u001b[2J'
const remainsWith = (topics: readonly TopicRemains[]): Remains => ({
  customerUuid: `c${CLEAR}`,
  erasure: { erasedAt: 0, scope: 'forever', requestedBy: `ops${CLEAR}`, reason: `letter\n7${CLEAR}` },
  redis: { hash: false, mark: true },
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
  ['forever', 'forever, because the topic has unlimited retention'],
  ['compaction', 'Kafka compacts the topic, for which max.compaction.lag.ms sets no time'],
  ['unknown', 'unknown, because this user may not read the settings of the topic'],
  [60_000, "1970-01-01 00:02 UTC at the latest, and until Kafka's next cleaner run"],
])('erase says until when a topic has records, if the topic keeps them for %s', (keepsFor, until) => {
  const lines = linesOf({ topic: 't', records: 2, newestAt: 60_000, unreadable: 0, keepsFor })
  expect(lines).toContain(`  ${'t'.padEnd(36)}✘ has 2 records, until ${until}`)
})
