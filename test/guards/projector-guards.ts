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
    from: `redis.call('DEL', key)`,
    to: `if i == 1 then redis.call('DEL', key) end`,
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
    from: `redis.call('SET', key, '')`,
    to: '',
    test: store('refuses a call as a whole'),
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
    from: 'moved: await store.movePosition(partition, believed.stored, next),',
    to: `moved: (await insist('Redis', signal, () => store.movePosition(partition, believed.stored, next)))?.value ?? false,`,
    test: projection('applies again what a Redis lost that failed over between apply and move'),
  },
  {
    guard: 'the first position is stored before anything is applied',
    prevents: 'an emptied Redis taken for one just begun',
    file: `${folder}/positions.ts`,
    from: 'if (offset === undefined) await',
    to: 'if (offset === null) await',
    test: projection('does not take a Redis emptied before its first position'),
  },
  {
    guard: 'what is believed stays until it has been read anew',
    prevents: 'a rolled-back Redis that nobody notices, after a reading was aborted',
    file: `${folder}/positions.ts`,
    from: 'reload: (partition, signal) => load([partition], signal)',
    to: 'reload: (partition, signal) => (positions.delete(partition), load([partition], signal))',
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
]
