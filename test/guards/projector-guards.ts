import { brokers, faultRow, type Guard, unit } from './guard.ts'

const folder = 'services/projector/src'
const projection = (title: string) => unit(`${folder}/consumer.test.ts`, title)
const store = (title: string) => brokers(`${folder}/store.int.test.ts`, title)

const newerWins = {
  guard: 'a snapshot replaces only an older one',
  prevents: 'customers that go back to what they were, by repeats and disorder',
  file: `${folder}/lua/apply-snapshots.lua`,
  from: 'if order > 0 then',
  to: 'if true then',
}
const movesFromWhereItIs = {
  guard: 'the position moves only from where it is believed to be',
  prevents: 'a gap after Redis was rolled back, or was filled by another projector',
  file: `${folder}/lua/move-position.lua`,
  from: 'if stored ~= ARGV[2] then return 0 end',
  to: '',
}

export const projectorGuards: readonly Guard[] = [
  { ...newerWins, test: store('tells applied, duplicate and stale apart') },
  { ...newerWins, guard: `${newerWins.guard}, under load`, test: faultRow('Redis rolled back') },
  { ...movesFromWhereItIs, test: store('moves only from where the position is') },
  { ...movesFromWhereItIs, guard: `${movesFromWhereItIs.guard}, under load`, test: faultRow('Redis rolled back') },
  {
    guard: 'a hash is replaced as a whole',
    prevents: 'fields of an older event that survive',
    file: `${folder}/lua/apply-snapshots.lua`,
    from: `if redis.call('HLEN', key) > count / 2 then`,
    to: `if redis.call('HLEN', key) < 0 then`,
    test: store('replaces the whole hash'),
  },
  {
    guard: 'ids are compared by bytes in Lua',
    prevents: 'an order of versions that follows the locale of the Redis server',
    file: `${folder}/lua/apply-snapshots.lua`,
    from: 'local order = compare_bytes(id, stored[2])',
    to: 'local order = id == stored[2] and 0 or (id < stored[2] and -1 or 1)',
    test: store('the locale en_US.UTF-8'),
  },
  {
    guard: 'the first write of the script is one that Redis checks for memory',
    prevents: 'half a batch written beyond the limit of memory',
    file: `${folder}/lua/apply-snapshots.lua`,
    from: `    for from = first, last, 4000 do`,
    to: `    redis.call('DEL', key)
    for from = first, last, 4000 do`,
    test: store('refuses a call as a whole'),
  },
  {
    guard: 'a hash is never gone while it is replaced',
    prevents: 'a customer who is missing for a moment, and a failure, when their slot of a Redis Cluster is about to move',
    file: `${folder}/lua/apply-snapshots.lua`,
    from: `    for from = first, last, 4000 do`,
    to: `    redis.call('DEL', key)
    for from = first, last, 4000 do`,
    test: brokers(`${folder}/store-on-cluster.int.test.ts`, 'are applied while their slot is on its way'),
  },
  {
    guard: 'Lua unpacks a customer in pieces',
    prevents: 'an error, for ever, at a customer of some 4000 fields',
    file: `${folder}/lua/apply-snapshots.lua`,
    from: 'unpack(ARGV, from, math.min(from + 3999, last))',
    to: 'unpack(ARGV, first, last)',
    test: store('keeps what no hash field should lose'),
  },
  {
    guard: 'apply and move are one attempt',
    prevents: 'a position without its data, after a fail-over between the two',
    file: `${folder}/consumer.ts`,
    from: 'moved: await store.movePosition(partition, believed.stored, next) }',
    to: `moved: (await insist('Redis', signal, () => store.movePosition(partition, believed.stored, next)))?.value ?? false }`,
    test: projection('applies again what a Redis lost that failed over between apply and move'),
  },
  {
    guard: 'what an earlier attempt has applied counts as applied',
    prevents: 'events that no metric has ever seen applied',
    file: `${folder}/consumer.ts`,
    from: `(outcome === 'duplicate' && outcomes[i] === 'applied' ? 'applied' : outcome)`,
    to: 'outcome',
    test: projection('counts as applied what was applied before'),
  },
  {
    guard: 'the first position is stored before anything is applied',
    prevents: 'an emptied Redis taken for one just begun',
    file: `${folder}/positions.ts`,
    from: 'if (offset === undefined && low',
    to: 'if (offset === null && low',
    test: projection('does not take a Redis emptied before its first position'),
  },
  {
    guard: 'a partition without a leader gets no position before one is known',
    prevents: 'a partition replayed from its beginning',
    file: `${folder}/positions.ts`,
    from: `        leaderless.add(partition)
        waitingSince.delete(partition)
        continue
      }
      leaderless.delete(partition)
      const { low, stable, high } = watermarks
      const position = resolve(partition, stored, low, high)`,
    to: `      }
      const { low, stable, high } = watermarks ?? { low: '0', stable: '0', high: '0' }
      const position = resolve(partition, stored ?? '', low, high)`,
    test: projection('gets no position before its first batch'),
  },
  {
    guard: 'a partition without a leader does not wait on over a new assignment',
    prevents: 'the same',
    file: `${folder}/positions.ts`,
    from: '        waitingSince.delete(partition)\n        continue',
    to: '        continue',
    test: projection('has not moved that has no leader any more'),
  },
  {
    guard: 'a partition that had no leader is loaded when it has one',
    prevents: 'customers of an emptied Redis that stay away until their next event',
    file: `${folder}/positions.ts`,
    from: 'if (led.length > 0) await',
    to: 'if (led.length < 0) await',
    test: projection('gets a position also when no batch comes'),
  },
  {
    guard: 'a partition without a leader is not waited for',
    prevents: 'a projector that ends, again and again, over one',
    file: `${folder}/positions.ts`,
    from: 'else waitingSince.delete(partition)',
    to: '',
    test: projection('is not taken for one that could move'),
  },
  {
    guard: 'what is believed stays until it has been read anew',
    prevents: 'a rolled-back Redis that nobody notices, after a reading was aborted',
    file: `${folder}/positions.ts`,
    from: 'await load([partition], AbortSignal.any([signal, assignment.signal]))',
    to: '(positions.delete(partition), await load([partition], signal))',
    test: projection('goes on comparing a position whose reading was aborted'),
  },
  {
    guard: 'a batch is used only where its fetch began at the position',
    prevents: 'a gap wherever kafkajs has moved by itself',
    file: `${folder}/consumer.ts`,
    from: 'if (believed?.fetchFrom === fetchedFrom) return true',
    to: 'if (believed) return true',
    test: projection('throws away what was fetched from elsewhere'),
  },
  {
    guard: 'a partition that was lost meanwhile is forgotten',
    prevents: 'waiting for, and reporting of, what belongs to another member',
    file: `${folder}/consumer.ts`,
    from: 'if (signal.aborted || positions.believed(partition) !== believed) return false',
    to: '',
    test: projection('forgets a partition that was lost while a chunk waited'),
  },
  {
    guard: 'a partition that stays waits on when the group is joined again',
    prevents: 'a consumer that crashes and joins without end, and is never taken for stalled',
    file: `${folder}/positions.ts`,
    from: 'for (const partition of waitingSince.keys()) if (!partitions.includes(partition)) waitingSince.delete(partition)',
    to: 'waitingSince.clear()',
    test: projection('counts on how long a partition has not moved'),
  },
  {
    guard: 'an outage that has just ended is no stall',
    prevents: 'a projector that ends itself right after Redis is back',
    file: `${folder}/consumer.ts`,
    from: 'Math.min(positions.stalledMs(), outages.undisturbedMs())',
    to: '(outages.waitingFor === undefined ? positions.stalledMs() : 0)',
    test: projection('does not count an outage to the time'),
  },
  {
    guard: 'a partition that is not assigned is not read',
    prevents: 'what belongs to another member reported, committed and compared by two',
    file: `${folder}/positions.ts`,
    from: 'if (!assigned.includes(partition)) return',
    to: '',
    test: projection('takes no partition for its own that it no longer holds'),
  },
  {
    guard: 'the positions are compared while nothing happens',
    prevents: 'an emptied Redis that stays empty until the next event',
    file: `${folder}/main.ts`,
    from: 'every(settings.POSITION_CHECK_MS, projection.checkPositions)',
    to: '',
    test: brokers('test/start-and-outages.e2e.test.ts', 'rebuilds an emptied Redis by itself'),
  },
  {
    guard: 'quarantine comes before the position',
    prevents: 'a record that is neither applied nor kept',
    file: `${folder}/consumer.ts`,
    from: `if (!(await insist('quarantine', signal, () => deps.sendToQuarantine(quarantined)))) return false`,
    to: 'deps.sendToQuarantine(quarantined).catch(() => undefined)',
    test: projection('puts poison into quarantine before the position moves'),
  },
  {
    guard: 'an event of the far future goes to quarantine',
    prevents: 'a customer frozen for years by one wrong clock',
    file: `${folder}/project.ts`,
    from: 'if (isTooFarInFuture(',
    to: 'if (false && isTooFarInFuture(',
    test: unit(`${folder}/project.test.ts`, 'quarantines a timestamp too far in the future'),
  },
  {
    guard: 'a Redis that may evict is refused',
    prevents: 'customers that vanish unnoticed',
    file: `${folder}/main.ts`,
    from: 'if (mayEvict && ',
    to: 'if (!mayEvict && ',
    test: brokers('test/start-and-outages.e2e.test.ts', 'is refused at start unless that is accepted by name'),
  },
  {
    guard: 'a reply of the script that has no name is an error',
    prevents: 'a position moved over an event that may not be stored',
    file: `${folder}/store.ts`,
    from: 'if (outcome === undefined) throw',
    to: 'if (false) throw',
    test: unit(`${folder}/store.test.ts`, 'takes a reply of the script for no outcome'),
  },
  {
    guard: 'a record that quarantine refuses goes without key and detail',
    prevents: 'a partition that stands still behind one record',
    file: `${folder}/quarantine.ts`,
    from: 'await ifRefused(send([record]), () => send([{ ...record, key: null, headers }]))',
    to: 'await send([record])',
    test: unit(`${folder}/quarantine.test.ts`, 'go without its key and detail'),
  },
  {
    guard: 'an outage costs a quarantined record nothing',
    prevents: 'records in quarantine that nobody can find',
    file: `${folder}/quarantine.ts`,
    from: `if (!(error instanceof NotStoredError) || error.kind !== 'refused') throw error`,
    to: '',
    test: unit(`${folder}/quarantine.test.ts`, 'takes nothing from a record because of an outage'),
  },
  {
    guard: 'a key of ours that is no hash is replaced',
    prevents: 'a chunk that fails for ever',
    file: `${folder}/lua/apply-snapshots.lua`,
    from: `if string.find(stored.err, 'WRONGTYPE', 1, true) then return 1, true end`,
    to: '',
    test: store('replaces a key of ours that is no hash'),
  },
  {
    guard: 'a position that Kafka does not hold means the oldest record',
    prevents: 'a partition that stands still when Redis is older than the topic',
    file: `${folder}/positions.ts`,
    from: ' && BigInt(stored) >= BigInt(low)',
    to: '',
    test: projection('goes back to what Redis says when the position is not where it was left'),
  },
]
