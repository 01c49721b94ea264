import { brokers, type Guard, unit } from './guard.ts'

const folder = 'services/projector/src'
const filled = (title: string) => unit(`${folder}/fill.test.ts`, title)
const fillStore = (title: string) => brokers(`${folder}/fill-store.int.test.ts`, title)
const anyLoss = 'ends right after any loss of Redis, crash and deletion of applied records'

/** Rules of a rebuild from the state topic. */
export const fillGuards: readonly Guard[] = [
  {
    guard: 'of the documents in one fetch, the newest one counts',
    prevents: 'an older customer in Redis, because an older document came last in the state topic',
    file: `${folder}/fill.ts`,
    from: 'if (known && peeked && compareVersions(peeked, known) <= 0) continue',
    to: 'if (known) continue',
    test: filled('keeps the newest document of a customer'),
  },
  {
    guard: 'documents that cannot be read make the state topic incomplete',
    prevents: 'customers that are missing, because damaged documents were skipped',
    file: `${folder}/positions.ts`,
    from: 'filled?.isComplete ? filled.rawFrom : low',
    to: 'filled?.rawFrom ?? low',
    test: filled('a fill whose documents cannot be read'),
  },
  {
    guard: 'erasures that cannot be read are not skipped',
    prevents: 'an erased customer who comes back after Redis was lost',
    file: `${folder}/erasures.ts`,
    from: '    assertReadable(partition, fetched?.unreadable)\n',
    to: '',
    test: unit(`${folder}/erasures.test.ts`, 'that cannot be read are not skipped'),
  },
  {
    guard: 'nothing is published while a partition is being filled',
    prevents: 'an older document that comes last in the state topic',
    file: `${folder}/positions.ts`,
    from: '(fillings.has(partition) ? undefined : stateTopicIds.get(partition))',
    to: 'stateTopicIds.get(partition)',
    test: filled(anyLoss),
  },
  {
    guard: 'no offset is committed while a partition is being filled',
    prevents: 'customers that are missing after Redis is lost again',
    file: `${folder}/positions.ts`,
    from: 'if (fillings.has(partition)) continue',
    to: '',
    test: filled('publishes no older document of a customer'),
  },
  {
    guard: 'only the state topic whose id was committed counts as complete',
    prevents: 'customers that are missing after the state topic was created again',
    file: `${folder}/stored-positions.ts`,
    from: ' && metadata === state.proof',
    to: '',
    test: filled('applies all records that Kafka has'),
  },
  {
    guard: 'a partition is filled although the state topic may be incomplete, if raw records are gone',
    prevents: 'customers that are missing although the state topic has them',
    file: `${folder}/stored-positions.ts`,
    from: "if (!isComplete && low === '0') return fromRaw",
    to: 'if (!isComplete) return fromRaw',
    test: filled('takes what it can from both topics'),
  },
  {
    guard: 'a fill that a restored master brings back is continued',
    prevents: 'customers that are missing after the failover of a master',
    file: `${folder}/positions.ts`,
    from: ' && fills.has(partition) === fillings.has(partition)',
    to: '',
    test: filled('fills again what a restored master'),
  },
  {
    guard: 'a fill ends if its state topic is gone',
    prevents: 'customers that are missing after the state topic was created again during a fill',
    file: `${folder}/stored-positions.ts`,
    from: 'if (low === undefined || fill.stateTopicId === stateTopicId) continue',
    to: 'continue',
    test: filled('ends if the state topic is created again'),
  },
  {
    guard: 'at the end of a fill the position goes back',
    prevents: 'events whose documents are never published',
    file: `${folder}/lua/move-fill.lua`,
    from: 'if position and position > tonumber(ARGV[4]) then',
    to: 'if false then',
    test: fillStore('at its end the position goes back'),
  },
  {
    guard: 'the end of a fill stops a chunk that is under way',
    prevents: 'a chunk without documents that moves the position',
    file: `${folder}/lua/move-fill.lua`,
    from: "redis.call('HDEL', KEYS[1], fill, ARGV[1] .. '#token', ARGV[1] .. '#window')",
    to: "redis.call('HDEL', KEYS[1], fill)",
    test: fillStore('a chunk that is under way at the end'),
  },
  {
    guard: 'an earlier fill does not change the progress',
    prevents: 'documents that are skipped because two projectors fill a partition',
    file: `${folder}/lua/move-fill.lua`,
    from: 'if stored ~= ARGV[2] then return 0 end',
    to: '',
    test: fillStore('an earlier fill changes nothing'),
  },
  {
    guard: 'on a cluster a fill goes on only if its customers are still there',
    prevents: 'customers that are missing after a master was replaced',
    file: `${folder}/fill-store.ts`,
    from: 'await assertStored(redis, customers, keyPrefix)',
    to: '',
    test: fillStore('does not go on past customers that were lost'),
  },
]
