import { expect, it } from 'vitest'
import { createReconciliation, type FinalCounts, placeOf, type Reconciliation } from './reconciliation.ts'

const finalCounts: FinalCounts = {
  senders: { made: 4, promised: 2, lost: 1, stopped: 1, heard: 3 },
  sentEvents: ['a', 'b', 'lost', 'stopped'],
  answered: 4,
  outcomes: { counted: 5, records: 5 },
  ends: new Map([
    [0, 4],
    [1, 1],
  ]),
  positions: new Map([
    [0, 4],
    [1, 1],
  ]),
}

/**
 * Returns a reconciliation whose counts all match. `a` was promised twice and stored twice. `b` was
 * promised once and stored once. `lost` was stored but never promised. The fault itself sent
 * `poison`.
 */
const balanced = (): Reconciliation => {
  const reconciliation = createReconciliation('c')
  for (const fingerprint of ['a', 'a', 'b']) reconciliation.observer.promise(fingerprint)
  reconciliation.posted('poison', true)
  for (const [offset, fingerprint] of ['a', 'b', 'a', 'poison'].entries())
    reconciliation.observer.record({
      topic: 'c',
      partition: 0,
      offset: String(offset),
      fingerprint,
      usable: fingerprint !== 'poison',
    })
  reconciliation.observer.record({ topic: 'c', partition: 1, offset: '0', fingerprint: 'lost', usable: true })
  reconciliation.quarantined(placeOf('c', 0, '3'), 'poison')
  return reconciliation
}
const senders = (changed: Partial<FinalCounts['senders']>): Partial<FinalCounts> => ({
  senders: { ...finalCounts.senders, ...changed },
})

it('the reconciliation has no problem if all counts match', () => {
  const reconciliation = balanced()
  expect(reconciliation.imbalances(finalCounts)).toEqual([])
  expect(reconciliation.figures).toEqual({ records: 5, unpromised: 1, copies: 1 })
})

it.each<[string, Partial<FinalCounts>, ((reconciliation: Reconciliation) => void)?]>([
  ['5 events were made, but 2 promised, 1 lost and 1 stopped', senders({ made: 5 })],
  ['the ledger has 3 promises, but 4 answers with 2xx were heard', senders({ heard: 4 })],
  ['the ledger has 2 events, but the senders counted 3', senders({ promised: 3, lost: 0 })],
  ['the senders got 3 answers with 202, but the ingresses gave only 2', { answered: 2 }],
  ['the ingresses gave 6 answers with 202, but Kafka has only 5 records', { answered: 6 }],
  ['1 events have more promises than records in Kafka', {}, (reconciliation) => reconciliation.posted('b', true)],
  ['1 records in Kafka were not sent by a sender', { sentEvents: ['a', 'b'] }],
  [
    'positions in Redis that are not the end of their partition: 0 at 3 of 4',
    { positions: new Map([...finalCounts.positions, [0, 3]]) },
  ],
  [
    'positions in Redis that are not the end of their partition: 0 at 5 of 4',
    { positions: new Map([...finalCounts.positions, [0, 5]]) },
  ],
  [
    "1 of the senders' events were not usable",
    {},
    // Simulates a bug in both projector and verifier: both treat a usable event as unusable.
    (reconciliation) => {
      reconciliation.observer.record({ topic: 'c', partition: 0, offset: '4', fingerprint: 'a', usable: false })
      reconciliation.quarantined(placeOf('c', 0, '4'), 'a')
    },
  ],
  ['5 records have only 4 outcomes', { outcomes: { counted: 4, records: 5 } }],
  [
    '1 records in quarantine are not copies of unusable records',
    {},
    (reconciliation) => reconciliation.quarantined(placeOf('c', 0, '1'), 'b'),
  ],
])('the reconciliation reports: %s', (sentence, changed, change = () => undefined) => {
  const reconciliation = balanced()
  change(reconciliation)
  expect(reconciliation.imbalances({ ...finalCounts, ...changed })).toEqual([sentence])
})

it('the reconciliation reports an unusable record without an equal copy in quarantine', () => {
  const record = { topic: 'c', partition: 1, fingerprint: 'poison', usable: false }
  const reconciliation = balanced()
  reconciliation.observer.record({ ...record, offset: '1' })
  reconciliation.observer.record({ ...record, offset: '2' })
  reconciliation.quarantined(placeOf('c', 1, '2'), 'b')
  expect(reconciliation.imbalances(finalCounts)).toEqual([
    '2 unusable records are not in quarantine',
    '1 records in quarantine are not copies of unusable records',
  ])
})
