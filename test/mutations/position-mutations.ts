import { brokers, faultRow, type Mutation, unit } from './mutation.ts'

const folder = 'services/projector/src'
const projection = (title: string) => unit(`${folder}/projection.test.ts`, title)
const positions = (title: string) => unit(`${folder}/positions.test.ts`, title)
const lookahead = (title: string) => unit(`${folder}/lookahead.test.ts`, title)
const store = (title: string) => brokers(`${folder}/store.int.test.ts`, title)
const movesFromWhereItIs = {
  rule: 'the position moves only from its expected value',
  prevents: 'events that are missing after Redis was rolled back, or was changed by another projector',
  file: `${folder}/lua/move-position.lua`,
  from: 'if stored ~= ARGV[2] and stored ~= ARGV[3] then return 0 end',
  to: '',
}

export const positionMutations: readonly Mutation[] = [
  {
    ...movesFromWhereItIs,
    test: store('movePosition moves only from the stored position, and a repeated move succeeds'),
  },
  {
    ...movesFromWhereItIs,
    rule: `${movesFromWhereItIs.rule}, under load`,
    test: faultRow('redis', 'Redis rolled back'),
  },
  {
    rule: 'on Redis Cluster the position moves only with its token',
    prevents: 'a position without its customers after a failover right before the move',
    file: `${folder}/lua/move-position.lua`,
    from: `if redis.call('HGET', KEYS[1], ARGV[1] .. '#token') ~= ARGV[4] then`,
    to: 'if false then',
    test: brokers(
      `${folder}/store-on-cluster.int.test.ts`,
      'if a master loses customers of the chunk and the token after the check',
    ),
  },
  {
    rule: 'on Redis Cluster the position moves only with its token, even if a master has lost writes',
    prevents: 'a position without its customers after a failover right before the move',
    file: `${folder}/lua/move-position.lua`,
    from: `if redis.call('HGET', KEYS[1], ARGV[1] .. '#token') ~= ARGV[4] then`,
    to: 'if false then',
    test: brokers(
      `${folder}/store-on-cluster.int.test.ts`,
      'if a master is restored from its backup before movePosition',
    ),
  },
  {
    rule: 'the first position is stored before anything is applied',
    prevents: 'an emptied Redis that is treated as a new Redis',
    file: `${folder}/repair-positions.ts`,
    from: 'if (!(await store.movePosition(partition, stored, start.rawFrom))) return',
    to: 'if (stored === undefined || !(await store.movePosition(partition, stored, start.rawFrom))) return',
    test: projection('if Redis is emptied during the first chunk'),
  },
  {
    rule: 'a partition without a leader gets no position before its offsets are known',
    prevents: 'a partition that is replayed from its beginning',
    file: `${folder}/positions.ts`,
    from: `      if (!watermarks || stored === undefined || isBelow(stored, watermarks.low) || !isReady) {
        notLoaded.add(partition)
        continue
      }
      notLoaded.delete(partition)
      positions.set(partition, stored)
      stateTopicIds.set(partition, done.value.stateTopicId)
      proofs.set(partition, done.value.proof)
      const fill = done.value.fills.get(partition)
      // Records before this offset are not read again. So a rebuild keeps the hashes of these
      // records, until the fill brings the documents of their customers.
      oldest.set(partition, fill?.rawFrom ?? watermarks.low)
      onLoad(partition)
      startFill(partition, fill, watermarks.low)
      consumer.seek(partition, stored)
      metrics.observeLag(partition, Number(BigInt(watermarks.high) - BigInt(stored)))`,
    to: `      positions.set(partition, stored ?? '0')
      consumer.seek(partition, stored ?? '0')`,
    test: positions('gets its position with its first batch'),
  },
  {
    rule: 'the position of a partition is loaded when it gets a leader',
    prevents: 'customers of an emptied Redis that are missing until their next event',
    file: `${folder}/positions.ts`,
    from: 'if (led.length + overtaken.length > 0) await',
    to: 'if (overtaken.length > 0) await',
    test: positions('is loaded when the partition gets a leader, even without a batch'),
  },
  {
    rule: 'the expected position is kept until the position has been read again',
    prevents: 'a rolled-back Redis that no one notices after an aborted read',
    file: `${folder}/positions.ts`,
    from: 'await load([partition], AbortSignal.any([signal, assignment.signal]))',
    to: '(positions.delete(partition), await load([partition], signal))',
    test: projection('if the load of a position was aborted, the check seeks to the position in Redis'),
  },
  {
    rule: 'a batch is used only if its fetch began at the position',
    prevents: 'missing events after kafkajs has changed its offset',
    file: `${folder}/projection.ts`,
    from: 'if (expected === fetchedFrom) return true',
    to: 'if (expected !== undefined) return true',
    test: projection('a projection drops records from a wrong offset, and seeks to the position in Redis'),
  },
  {
    rule: 'a partition that is lost while its position is loaded is forgotten',
    prevents: 'waits and reports for a partition of another member',
    file: `${folder}/apply-chunk.ts`,
    from: 'if (signal.aborted || positions.expected(partition) !== expected) return false',
    to: '',
    test: projection('after the loss of a partition during a chunk, no further chunk is applied'),
  },
  {
    rule: 'a partition that is not assigned is not read',
    prevents: 'two members that report, commit and compare the same partition',
    file: `${folder}/positions.ts`,
    from: 'if (!assigned.includes(partition)) return',
    to: '',
    test: projection('ignores fetched batches of a partition'),
  },
  {
    rule: 'the positions in Redis are compared even if no events arrive',
    prevents: 'an emptied Redis that stays empty until the next event',
    file: `${folder}/tasks.ts`,
    from: 'every(options.positionCheckMs, projection.checkPositions)',
    to: '',
    test: brokers('test/e2e/start-and-outages.e2e.test.ts', 'a projector rebuilds an emptied Redis'),
  },
  {
    rule: 'a first position is stored only after a claim with the settings of the indexes',
    prevents: 'projectors that apply nothing after Redis was emptied right after their claim',
    file: `${folder}/lua/move-position.lua`,
    from: "if stored == '' and (redis.call",
    to: 'if false and (redis.call',
    test: brokers(`${folder}/claim-positions.int.test.ts`, 'if Redis is emptied between the claim and the first'),
  },
  {
    rule: 'a position before the oldest record is replaced by the offset of this record',
    prevents: 'a partition that is blocked when Redis is older than the topic',
    file: `${folder}/repair-positions.ts`,
    from: '!isBelow(stored, marks.low) && BigInt(stored)',
    to: 'BigInt(stored)',
    test: positions('the position 5 is replaced with'),
  },
  {
    rule: 'a position beyond the end is replaced by the offset of the oldest record',
    prevents: 'a partition that is blocked after Kafka was restored from a backup',
    file: `${folder}/repair-positions.ts`,
    from: ' && BigInt(stored) <= BigInt(marks.high)',
    to: '',
    test: positions('the position 1001 is replaced with'),
  },
  {
    rule: 'if the position is beyond the end, all raw records are applied, and no fill begins',
    prevents: 'events that are skipped because a committed offset is from before the restore of Kafka',
    file: `${folder}/repair-positions.ts`,
    from: 'const tooHigh = isOffset(stored) && BigInt(stored) > BigInt(high)',
    to: 'const tooHigh = false',
    test: unit(`${folder}/fill.test.ts`, 'all raw records are applied if the position is beyond the end'),
  },
  {
    rule: 'positions belong to one topic of one cluster',
    prevents: 'events that are never applied, because their cluster or their topic is new',
    file: `${folder}/stored-positions.ts`,
    from: 'const { deleted, identity } = await claim()',
    to: 'const [deleted, identity] = [0, await readIdentity()]',
    test: positions('applies nothing with positions of another cluster'),
  },
  {
    rule: 'positions of another cluster stop a running projector',
    prevents: 'skipped events after Redis was restored from the dump of another installation',
    file: `${folder}/positions.ts`,
    from: '          positions.clear()\n          loading = load(assigned, signal)',
    to: '',
    test: positions('a projection waits while a restored Redis has positions of another cluster'),
  },
  {
    rule: 'a position within a lookahead window goes back to the start of the window',
    prevents: 'a customer without its newest usable event, if a process ends during a rebuild',
    file: `${folder}/stored-positions.ts`,
    from: 'await leaveWindows(partitions, watermarks)',
    to: 'false',
    test: lookahead('a process that takes over a partition within a window applies the window again from its start'),
  },
  {
    rule: 'the lookahead window is stored with the position',
    prevents: 'a customer without its newest usable event, if a process ends during a rebuild',
    file: `${folder}/apply-chunk.ts`,
    from: 'window: lookahead.window(partition), stateTopicId }',
    to: 'stateTopicId }',
    test: lookahead('a process that takes over a partition within a window applies the window again from its start'),
  },
  {
    rule: 'a repair deletes the token of a chunk that is under way',
    prevents: 'an older document as the last record of a customer, although the repair ran',
    file: 'packages/runtime/src/redis/lower-position.lua',
    from: "redis.call('HDEL', KEYS[1], ARGV[1] .. '#token')",
    to: '',
    test: store('moveAfter fails if lowerPosition was called after writeChunk'),
  },
  {
    rule: 'if the state topic lacks documents, the position goes back to the offset up to which it has all documents',
    prevents:
      'customers that the state topic lacks, after it was created again or an older projector moved the position',
    file: `${folder}/stored-positions.ts`,
    from: 'if (BigInt(to) >= BigInt(position)) continue',
    to: 'if (BigInt(to) >= 0n) continue',
    test: projection('the position goes back to the offset from which the state topic lacks documents'),
  },
  {
    rule: 'a position that moves while it is set back is read again',
    prevents: 'customers that a new state topic lacks, because a chunk moved the position at the same time',
    file: `${folder}/stored-positions.ts`,
    from: 'return seen.length > 0 || isMovedMeanwhile',
    to: 'return seen.length > 0',
    test: unit(
      `${folder}/stored-positions.test.ts`,
      'if a chunk moves a position while the position is being moved back, it is moved back again',
    ),
  },
  {
    rule: "a position that has already moved counts as this projector's move only with the token",
    prevents:
      'an older document as the last record of a customer, because a projector counts the move of another as its own',
    file: `${folder}/lua/move-position.lua`,
    from: "if ARGV[4] ~= '' then",
    to: "if ARGV[4] ~= '' and stored ~= ARGV[3] then",
    test: store('moves no position that another projector has moved to the same offset'),
  },
  {
    rule: 'a repair moves a position only back, never forward',
    prevents: 'events that are never applied',
    file: 'packages/runtime/src/redis/lower-position.lua',
    from: 'if not stored or stored <= tonumber(ARGV[2]) then return 0 end',
    to: '',
    test: store('moves a position back, never forward'),
  },
]
