import { brokers, faultRow, type Guard, unit } from './guard.ts'

const folder = 'packages/runtime/src/kafka'
const intTest = (title: string) => brokers(`${folder}/kafka.int.test.ts`, title)

export const kafkaGuards: readonly Guard[] = [
  {
    guard: 'the timer of idle connections is patched',
    prevents: 'a timer re-armed for ever: 5 % of a core, a warning on Node 24',
    file: `${folder}/client.ts`,
    from: '\npatchRequestQueue()',
    to: '',
    test: unit(`${folder}/request-queue-patch.test.ts`, 'arms no timer on an idle connection'),
  },
  {
    guard: 'a send resolves only when every partition was acknowledged by name',
    prevents: 'a promise for a record that was never written, at a change of leaders',
    file: `${folder}/producer.ts`,
    from: 'if (left.length > 0) open.set',
    to: 'if (left.length < 0) open.set',
    test: unit(`${folder}/producer.test.ts`, 'does not deceive the verified producer'),
  },
  {
    guard: 'a send resolves only when every partition was acknowledged by name, under load',
    prevents: 'the same, as loss in numbers',
    file: `${folder}/producer.ts`,
    from: 'if (left.length > 0) open.set',
    to: 'if (left.length < 0) open.set',
    test: faultRow('leader change'),
  },
  {
    guard: 'consumers begin at the oldest record',
    prevents: 'a silent jump to the end of a partition without a known offset',
    file: `${folder}/consumer.ts`,
    from: 'fromBeginning: true',
    to: 'fromBeginning: false',
    test: intTest('begins at the oldest record'),
  },
  {
    guard: 'heart-beats go on while a batch waits',
    prevents: 'a projector that waits for Redis is thrown out of its group',
    file: `${folder}/consumer.ts`,
    from: 'heartbeat().then(alive, (error: unknown) => saysPartitionIsLost(error) && lost.abort())',
    to: 'isRunning()',
    test: brokers('test/start-and-outages.e2e.test.ts', 'waits for a hung Redis, keeps its place'),
  },
  {
    guard: 'a handler that throws is reported as dead',
    prevents: 'kafkajs trying the same batch for ever',
    file: `${folder}/consumer.ts`,
    from: '      options.onDead(error as Error)\n    } finally',
    to: '      throw error\n    } finally',
    test: intTest('reports a handler that throws a Error as dead'),
  },
  {
    guard: 'positions committed for lag monitoring are named',
    prevents: 'a commit that kafkajs takes for nothing to do',
    file: `${folder}/consumer.ts`,
    from: '[...offsets].map(([partition, offset]) => ({ topic, partition, offset }))',
    to: '[]',
    test: intTest('commits for lag monitoring what it is told'),
  },
  {
    guard: 'topics take records of any time',
    prevents: 'an ingress whose clock runs ahead stores nothing',
    file: `${folder}/topic-check.ts`,
    from: `  'message.timestamp.after.max.ms': FOREVER_MS,\n`,
    to: '',
    test: intTest('stores records where'),
  },
  {
    guard: 'topics take a body of exactly the limit',
    prevents: 'Kafka refusing what the ingress has let in',
    file: `${folder}/topic-check.ts`,
    from: 'RECORD_OVERHEAD_BYTES = 64 * 1024',
    to: 'RECORD_OVERHEAD_BYTES = 0',
    test: intTest('takes a body of exactly the limit'),
  },
  {
    guard: 'records are told apart that Kafka will never take',
    prevents: 'one such record being tried for ever, or an outage taken for a refusal',
    file: `${folder}/producer.ts`,
    from: `  'MESSAGE_TOO_LARGE',\n`,
    to: '',
    test: unit(`${folder}/producer.test.ts`, 'tells a record that Kafka will never take from an outage'),
  },
]
