import { brokers, type Mutation, unit } from './mutation.ts'

const folder = 'services/projector/src'
const chunkWriter = (title: string) => unit(`${folder}/chunk-writer.test.ts`, title)

export const erasureMutations: readonly Mutation[] = [
  {
    rule: 'a customer without a hash is compared with the mark of an erasure',
    prevents: 'an erased customer who comes back with the next event',
    file: `${folder}/lua/apply-snapshots.lua`,
    from: 'outcome or reply_by_mark(KEYS[customers + i], timestamp)',
    to: 'outcome or 1',
    test: brokers(`${folder}/erasures.int.test.ts`, 'an erased customer has no hash, and later events are not applied'),
  },
  {
    rule: 'a rebuild compares the older event with the mark of an erasure',
    prevents: 'an erased event that replaces a newer hash of another partition',
    file: `${folder}/lua/apply-snapshots.lua`,
    from: '    return { order = 1, index = index }\n  end',
    to: '    return { order = 1, is_known = true, index = index }\n  end',
    test: brokers(`${folder}/erasures.int.test.ts`, 'a rebuild applies no event before an erasure'),
  },
  {
    rule: 'of two erasures the later one counts',
    prevents: 'a customer who comes back after a late projector has executed an earlier erasure',
    file: `${folder}/lua/erase-customer.lua`,
    from: `if mark[1] == ARGV[3] and tonumber(mark[2]) > tonumber(ARGV[4]) then return { -1, '', '' } end`,
    to: '',
    test: brokers(`${folder}/erasures.int.test.ts`, 'the later of two erasures of a customer decides'),
  },
  {
    rule: 'a chunk that was written before an erasure does not move the position',
    prevents: 'a document after the tombstone of an erased customer',
    file: `${folder}/erasure-store.ts`,
    from: 'const { isInPlace, token } = await writeChunk([], partition, position, position)',
    to: "const { isInPlace, token } = { isInPlace: true, token: '' }",
    test: brokers(
      `${folder}/erasures.int.test.ts`,
      'a chunk that was written before an erasure does not move the position',
    ),
  },
  {
    rule: 'an erased event publishes the tombstone again',
    prevents: 'a document that a late projector has published after the tombstone, and that stays',
    file: `${folder}/chunk-writer.ts`,
    from: "    if (stored[i] === 'stale') return []\n",
    to: "    if (stored[i] === 'stale' || stored[i] === 'erased') return []\n",
    test: chunkWriter('with late documents of one projector'),
  },
  {
    rule: 'a Redis that may lack marks gets no events before the erasures are executed',
    prevents: 'erased customers who come back while a lost Redis is filled',
    file: `${folder}/positions.ts`,
    from: "const isReady = executions.get(partition) === 'done'",
    to: 'const isReady = true',
    test: unit(
      `${folder}/erasures.test.ts`,
      'if the erasures topic has no leader, only partitions without a stored position in that topic wait',
    ),
  },
  {
    rule: 'erasures are executed again if the state topic may lack their tombstones',
    prevents: 'a document of an erased customer that stays, because the state topic was off during the erasure',
    file: `${folder}/erasures.ts`,
    from: 'const executed = hasTombstones ? marked : undefined',
    to: 'const executed = marked',
    test: unit(
      `${folder}/erasures.test.ts`,
      'the missing tombstone of an erasure is published when the state topic is switched on',
    ),
  },
  {
    rule: 'the fetch of erasures is not retried immediately',
    prevents: 'partitions that wait because the erasures of another partition cannot be read',
    file: `${folder}/erasures.ts`,
    from: "await attemptOnce('erasures', partition, signal, ",
    to: "await retryThroughOutage('erasures', signal, ",
    test: unit(`${folder}/erasures.test.ts`, 'does not delay the erasures of other partitions'),
  },
  {
    rule: 'one failed request for new erasures does not count as an outage',
    prevents: 'a projector that is not ready, because a partition of the erasures topic got another leader',
    file: `${folder}/erasures.ts`,
    from: "attemptOnce(what, 'topic', signal, attempt, 1)",
    to: "attemptOnce(what, 'topic', signal, attempt)",
    test: unit(
      `${folder}/erasures.test.ts`,
      'a projector that cannot read new erasures reports the outage, and retries',
    ),
  },
  {
    rule: 'a tombstone never has a timestamp in the future',
    prevents: 'an erasure that Kafka refuses, or a segment that is not compacted in time',
    file: `${folder}/chunk-writer.ts`,
    from: 'Math.min(erasure.erasedAt, Date.now())',
    to: 'erasure.erasedAt',
    test: unit(`${folder}/erasures.test.ts`, 'erasure in the future has the current time'),
  },
  {
    rule: 'erasures only set marks while a partition is filled',
    prevents: 'a tombstone after the document of a customer who came back',
    file: `${folder}/erasures.ts`,
    from: 'if (isFilling) return markAll(partition, topicId, marks, signal)',
    to: '',
    test: unit(
      `${folder}/erasures.test.ts`,
      'an erasure during a fill sets only the mark of its customer, and is executed after the fill',
    ),
  },
]
