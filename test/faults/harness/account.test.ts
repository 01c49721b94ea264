import { expect, it } from 'vitest'
import { type Account, type Closing, createAccount, placeOf } from './account.ts'

const closing: Closing = {
  senders: { made: 4, promised: 2, lost: 1, stopped: 1, heard: 3 },
  sentEvents: ['a', 'b', 'lost', 'stopped'],
  answered: 4,
  outcomes: { counted: 5, records: 5 },
  positions: new Map([
    [0, 4],
    [1, 1],
  ]),
}

/**
 * Returns a reconciliation whose counts all match. `a` was promised and stored twice, `b` once.
 * `lost` was stored but never promised. The fault itself sent `poison`.
 */
const balanced = (): Account => {
  const account = createAccount('c')
  for (const fingerprint of ['a', 'a', 'b']) account.witness.promise(fingerprint)
  account.posted('poison', true)
  for (const [offset, fingerprint] of ['a', 'b', 'a', 'poison'].entries())
    account.witness.record({
      topic: 'c',
      partition: 0,
      offset: String(offset),
      fingerprint,
      usable: fingerprint !== 'poison',
    })
  account.witness.record({ topic: 'c', partition: 1, offset: '0', fingerprint: 'lost', usable: true })
  account.quarantined(placeOf('c', 0, '3'), 'poison')
  return account
}
const senders = (changed: Partial<Closing['senders']>): Partial<Closing> => ({
  senders: { ...closing.senders, ...changed },
})

it('the reconciliation has no problem if all counts match', () => {
  const account = balanced()
  expect(account.imbalances(closing)).toEqual([])
  expect(account.figures).toEqual({ records: 5, unpromised: 1, copies: 1 })
})

it.each<[string, Partial<Closing>, ((account: Account) => void)?]>([
  ['5 events were made, but 2 promised, 1 lost and 1 stopped', senders({ made: 5 })],
  ['the ledger has 3 promises, but 4 answers with 2xx were heard', senders({ heard: 4 })],
  ['the ledger has 2 events, but the senders counted 3', senders({ promised: 3, lost: 0 })],
  ['the senders got 3 answers with 202, but the ingresses gave only 2', { answered: 2 }],
  ['the ingresses gave 6 answers with 202, but Kafka has only 5 records', { answered: 6 }],
  ['1 events were promised more often than Kafka has them', {}, (account) => account.posted('b', true)],
  ['1 records in Kafka were not sent by a sender', { sentEvents: ['a', 'b'] }],
  [
    'positions in Redis that are not the end of their partition: 0 at 3 of 4',
    { positions: new Map([...closing.positions, [0, 3]]) },
  ],
  [
    'positions in Redis that are not the end of their partition: 0 at 5 of 4',
    { positions: new Map([...closing.positions, [0, 5]]) },
  ],
  [
    "1 of the senders' events were not usable",
    { positions: new Map([...closing.positions, [0, 5]]) },
    // Simulates a common bug of projector and verifier, which treat a usable event as unusable.
    (account) => {
      account.witness.record({ topic: 'c', partition: 0, offset: '4', fingerprint: 'a', usable: false })
      account.quarantined(placeOf('c', 0, '4'), 'a')
    },
  ],
  ['5 records have only 4 outcomes', { outcomes: { counted: 4, records: 5 } }],
  [
    '1 records in quarantine are not copies of unusable records',
    {},
    (account) => account.quarantined(placeOf('c', 0, '1'), 'b'),
  ],
])('the reconciliation reports: %s', (sentence, changed, change = () => undefined) => {
  const account = balanced()
  change(account)
  expect(account.imbalances({ ...closing, ...changed })).toEqual([sentence])
})

it('the reconciliation reports an unusable record without an equal copy in quarantine', () => {
  const record = { topic: 'c', partition: 1, fingerprint: 'poison', usable: false }
  const account = balanced()
  account.witness.record({ ...record, offset: '1' })
  account.witness.record({ ...record, offset: '2' })
  account.quarantined(placeOf('c', 1, '2'), 'b')
  expect(account.imbalances({ ...closing, positions: new Map([...closing.positions, [1, 3]]) })).toEqual([
    '2 unusable records are not in quarantine',
    '1 records in quarantine are not copies of unusable records',
  ])
})
