import { type Mutation, subscribers, unit } from './mutation.ts'

const folder = 'packages/subscriber/src'
const chunk = (title: string) => unit(`${folder}/delivery-store.test.ts`, title)
const deliveries = (title: string) => subscribers(`${folder}/subscribe-to-deliveries.int.test.ts`, title)
const customers = (title: string) => subscribers(`${folder}/subscribe-to-customers.int.test.ts`, title)
const table = (title: string) => subscribers(`${folder}/customer-table.int.test.ts`, title)

/** Rules of the kit for subscribers. */
export const subscriberMutations: readonly Mutation[] = [
  {
    rule: 'the watermarks of all partitions are read once for an assignment',
    prevents: 'a rebalance that takes minutes, because each of a thousand partitions asks for all partitions',
    file: `${folder}/delivery-assignment.ts`,
    from: '    const all = await readAllWatermarks()\n    for (const [partition, position] of stored) {',
    to: '    for (const [partition, position] of stored) {\n      const all = await readAllWatermarks()',
    test: unit(
      `${folder}/delivery-assignment.test.ts`,
      'one request for watermarks is enough for the positions of thousands of partitions',
    ),
  },
  {
    rule: 'a time limit that does not fit into 32 bits is refused',
    prevents: 'a subscription that ends immediately, because the timer of a too large limit fires immediately',
    file: `${folder}/time-limit.ts`,
    from: ' && limitMs <= MAX_LIMIT_MS',
    to: '',
    test: unit(`${folder}/time-limit.test.ts`, 'is refused'),
  },
  {
    rule: 'an event of a chunk is compared with the earlier events of the chunk',
    prevents: 'an older event that replaces a newer event in the store of a subscriber',
    file: `${folder}/delivery-store.ts`,
    from: '    if (isNewer) newest.set(customerUuid, version)\n',
    to: '',
    test: chunk('the store gets each newer event once, in order, and ends with the newest versions'),
  },
  {
    rule: 'a subscriber continues only from the position in its store',
    prevents: 'two subscribers that store the same records, or a position that moves back',
    file: `${folder}/delivery-store.ts`,
    from: 'return isStored ? next : undefined',
    to: 'return next',
    test: chunk('after any crashes of two members, the store has the same content as without crashes'),
  },
  {
    rule: 'a version that the store returns is checked',
    prevents: 'updates that are ignored because a driver returned a date',
    file: `${folder}/delivery-store.ts`,
    from: 'if (!read.ok) throw',
    to: 'if (!read.ok) continue\n    if (!read) throw',
    test: chunk('if a chunk cannot be stored, the error names its place'),
  },
  {
    rule: 'a subscription to deliveries seeks to the position of its store',
    prevents: 'records that are not read because another program has committed their offsets',
    file: `${folder}/delivery-assignment.ts`,
    from: '    seek(partition, position ?? String(watermarks.low))\n',
    to: '',
    test: deliveries('begins at'),
  },
  {
    rule: 'a batch that was fetched before the seek is dropped',
    prevents: 'records that are never read',
    file: `${folder}/delivery-assignment.ts`,
    from: '        await loading\n        return false',
    to: '        return true',
    test: deliveries('without a stored position a subscription begins at the oldest record'),
  },
  {
    rule: 'a gap in the offsets is compared with the oldest record of the partition',
    prevents: 'records that Kafka has deleted, and of which the subscriber never learns',
    file: `${folder}/delivery-assignment.ts`,
    from: 'checkPosition(placeOf({ topic, partition, offset: position }), position, watermarks)\n      if',
    to: 'void watermarks\n      if',
    test: deliveries('if Kafka deletes the next records during a commit'),
  },
  {
    rule: 'a failed record ends the batch of a subscription',
    prevents: 'a customer that the handler never got, because a later offset was committed',
    file: `${folder}/subscribe-to-customers.ts`,
    from: '        break\n      }\n      resolveOffset',
    to: '      }\n      resolveOffset',
    test: customers('if a handler throws, the subscription ends'),
  },
  {
    rule: 'a rebalance ends the batch of a subscription',
    prevents: 'a group that waits for minutes, until a member has handled a long batch',
    file: `${folder}/subscribe-to-customers.ts`,
    from: ' || beats.mustEnd',
    to: '',
    test: unit(
      `${folder}/subscribe-to-customers.test.ts`,
      'a batch ends after the running handler if the group rebalances',
    ),
  },
  {
    rule: 'a stop ends the batch of a subscription',
    prevents: 'a stop that takes minutes, until its supervisor kills the process',
    file: `${folder}/subscribe-to-customers.ts`,
    from: 'running.isEnding || !isRunning',
    to: '!isRunning',
    test: unit(
      `${folder}/subscribe-to-customers.test.ts`,
      'a batch ends after the running handler if the signal aborts',
    ),
  },
  {
    rule: 'a subscription fails when kafkajs stops its consumer',
    prevents: 'a process that continues and reads nothing',
    file: `${folder}/run-consumer.ts`,
    from: '    else fail(new SubscriberError(`the consumer',
    to: '    else void (new SubscriberError(`the consumer',
    test: customers('a subscription fails if its consumer ends: kafkajs has no codec for the records'),
  },
  {
    rule: 'a subscription that ends waits for a start of its consumer that is in progress',
    prevents: 'a consumer that joins the group again after the end, and keeps partitions that it does not handle',
    file: `${folder}/run-consumer.ts`,
    from: '  await starting\n',
    to: '',
    test: subscribers(
      `${folder}/network.int.test.ts`,
      'subscribeToCustomers does not join its group again if it ends during an outage',
    ),
  },
  {
    rule: 'each consumer of the kit has its own offsets',
    prevents: 'a subscription that ends or reads records again, because a member of its process joined the group',
    file: `${folder}/own-offsets.ts`,
    from: '  fields[field] = new Map()\n',
    to: '',
    test: unit(
      `${folder}/own-offsets.test.ts`,
      'each consumer has its own offsets, and the Kafka object keeps its offsets for other consumers',
    ),
  },
  {
    rule: 'a slow handler sends heartbeats',
    prevents: 'a group that removes a slow member, and handles its records twice, again and again',
    file: `${folder}/heartbeats.ts`,
    from: '    heartbeat().catch(',
    to: '    Promise.resolve().catch(',
    test: unit(
      `${folder}/heartbeats.test.ts`,
      'during a batch, several heartbeats are sent per session timeout, and after the batch none is sent',
    ),
  },
  {
    rule: 'a table ends if its topic is deleted',
    prevents: 'a table that says it is current, but lacks the first customers of a topic that was created again',
    file: `${folder}/customer-table.ts`,
    from: '.catch(failTable)',
    to: '',
    test: table('a table ends if its topic is deleted, because kafkajs would continue in the middle of a new topic'),
  },
  {
    rule: 'a table ignores older versions of a customer',
    prevents: 'a customer who stays in an older state until the next change',
    file: `${folder}/table-entries.ts`,
    from: "decide(held?.version, state.version) !== 'apply'",
    to: "decide(undefined, state.version) !== 'apply'",
    test: table('an older or equal document does not change a table'),
  },
  {
    rule: 'a table accepts a batch that kafkajs fetched before it joined the group again',
    prevents: 'a table that ends during a rebalance, and says that its topic was created again',
    file: `${folder}/table-reader.ts`,
    from: 'begins.get(partition) ?? progress',
    to: 'progress',
    test: unit(`${folder}/customer-table.test.ts`, 'it accepts a batch that kafkajs delivers twice'),
  },
  {
    rule: 'a table continues at its offset after a rebalance',
    prevents: 'a table that reads the whole topic again at each rebalance',
    file: `${folder}/table-reader.ts`,
    from: 'consumer.seek({ topic, partition, offset: String(offset) })',
    to: 'void [partition, offset]',
    test: table('a table continues at its offset after its group has rebalanced'),
  },
]
