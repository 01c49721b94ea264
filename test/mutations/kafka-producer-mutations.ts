import { brokers, faultRow, type Mutation, unit } from './mutation.ts'

const folder = 'packages/runtime/src/kafka'
const intTest = (title: string) => brokers(`${folder}/kafka.int.test.ts`, title)
const accessTest = (title: string) =>
  ({ project: 'standstill', file: `${folder}/diagnosis.int.test.ts`, title }) as const
const connectionTest = (title: string) => brokers(`${folder}/patches/connection.int.test.ts`, title)
const lostPartitions = (which: string) =>
  ({ project: 'faults', file: 'test/faults/leaders.e2e.test.ts', title: `partitions ${which}` }) as const
const deposedLeader = {
  project: 'faults',
  file: 'test/faults/leaders.e2e.test.ts',
  title: 'a leader that hangs',
} as const

export const kafkaProducerMutations: readonly Mutation[] = [
  {
    rule: 'producers load the leaders of their partitions when they start',
    prevents: '503 for every event from an ingress that has sent nothing yet while a broker hangs',
    file: `${folder}/producer.ts`,
    from: 'await refreshLeaders()\n',
    to: '',
    test: unit(
      `${folder}/producer.test.ts`,
      'the producer reads the partition leaders before the first send, and again when they are old',
    ),
  },
  {
    rule: 'producers refresh the leaders of their partitions',
    prevents: 'a first event, hours after the start, that is sent to a former leader',
    file: `${folder}/producer.ts`,
    from: 'refresher = setInterval(() => refreshLeaders()',
    to: 'refresher = setInterval(() => Promise.resolve()',
    test: unit(
      `${folder}/producer.test.ts`,
      'the producer reads the partition leaders before the first send, and again when they are old',
    ),
  },
  {
    rule: 'simultaneous produce requests have separate connections',
    prevents: 'a leader whose partitions all fail because one fails: a broker answers a connection’s requests in order',
    file: `${folder}/patches/index.ts`,
    from: '\n  patchProduceConnection()',
    to: '',
    test: connectionTest('produce and metadata requests each use their own connection'),
  },
  {
    rule: 'a failing partition is isolated',
    prevents: '503 for all events while one partition has no leader',
    file: 'services/ingress/src/delivery/topic-publishers.ts',
    from: ', partitionOf: producer.partitionOf }',
    to: ' }',
    test: lostPartitions('without a leader'),
  },
  {
    rule: 'kafkajs does not retry a produce request',
    prevents: 'three more seconds for records that are sent together with a partition whose leader hangs',
    file: `${folder}/producer.ts`,
    from: 'retry: { retries: 0 }',
    to: 'retry: { retries: 5 }',
    test: lostPartitions('whose leader hangs'),
  },
  {
    rule: 'records that may go to any partition go to one partition, and to another partition in the next send',
    prevents: 'records without a key that are not stored while one partition fails',
    file: `${folder}/producer.ts`,
    from: '? nextPartition++ : 0',
    to: '? 0 : nextPartition++',
    test: unit(
      `${folder}/producer.test.ts`,
      'in one send, all records without a key go to one partition, and the next send uses another partition',
    ),
  },
  {
    rule: 'a send resolves only if every partition was acknowledged by name',
    prevents: 'an acknowledgement for a record that was never written',
    file: `${folder}/producer.ts`,
    from: 'if (left.length > 0) open.set',
    to: 'if (left.length < 0) open.set',
    test: unit(
      `${folder}/producer.test.ts`,
      'a partition that the produce response leaves out does not count as stored',
    ),
  },
  {
    rule: 'every in-sync replica has stored an acknowledged record',
    prevents: 'an acknowledged record that only one broker has',
    file: `${folder}/producer.ts`,
    from: 'acks: -1',
    to: 'acks: 1',
    test: faultRow('pressure', 'too few replicas'),
  },
  {
    rule: 'a refusal of a record is not treated as an outage',
    prevents: 'a refused record that is retried forever',
    file: `${folder}/producer.ts`,
    from: `  'MESSAGE_TOO_LARGE',\n`,
    to: '',
    test: unit(`${folder}/producer.test.ts`, 'the producer distinguishes a record that Kafka refuses from an outage'),
  },
  {
    rule: 'each attempt sends a record to the same partition',
    prevents: 'an acknowledgement that belongs to another record',
    file: `${folder}/producer.ts`,
    from: '(message as PinnedMessage).partition',
    to: '0 * (message as PinnedMessage).partition',
    test: unit(
      `${folder}/producer.test.ts`,
      'the verified producer’s send fails if a record is not written, and the next send writes the record',
    ),
  },
  {
    rule: 'the idempotent producer stays off',
    prevents: 'records that are acknowledged but dropped, because kafkajs reuses a sequence number after a timeout',
    file: `${folder}/producer.ts`,
    from: 'idempotent: false',
    to: 'idempotent: true',
    test: unit(
      `${folder}/producer.test.ts`,
      'the next send stores its records although the replies of the last send were lost',
    ),
  },
  {
    rule: 'after a failed send, the partition gets a new epoch',
    prevents: 'an older document that stays the last record, because a broker stored it after a hang',
    file: `${folder}/batch-numbers.ts`,
    from: 'if (open.get(name) === epoch) open.delete(name)',
    to: '',
    test: brokers(
      `${folder}/late-batches.int.test.ts`,
      'Kafka refuses a late batch that arrives after the next batch of the same producer',
    ),
  },
  {
    rule: 'a projector that gets a partition fences its former owner',
    prevents: 'an older document of the former owner that stays the last record after a broker hung',
    file: `${folder}/batch-numbers.ts`,
    from: 'abandonAll: () => open.clear()',
    to: 'abandonAll: () => {}',
    test: brokers(`${folder}/late-batches.int.test.ts`, 'if an owner gets its partition back'),
  },
  {
    rule: 'each assignment fences the former owners',
    prevents: 'an older document of the former owner that stays the last record after a broker hung',
    file: 'services/projector/src/outputs.ts',
    from: 'takeOver: () => fence?.takeOver()',
    to: 'takeOver: () => {}',
    test: unit('services/projector/src/outputs.test.ts', 'only the state topic has a fence'),
  },
  {
    rule: 'producers refresh their metadata every second',
    prevents: 'five minutes in which kafkajs writes to a hanging leader, until its metadata expires',
    file: `${folder}/producer.ts`,
    from: '      metadataMaxAge: metadataMaxAgeMs,\n',
    to: '',
    test: deposedLeader,
  },
  {
    rule: 'producers wait a second for a reply',
    prevents: 'a send that waits 30 s for a leader that hangs',
    file: 'services/ingress/src/delivery/delivery.ts',
    from: 'requestTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS,\n',
    to: 'requestTimeoutMs: 30_000,\n',
    test: deposedLeader,
  },
  {
    rule: 'a metadata request of a producer creates no topic',
    prevents: 'a deleted topic that is created again with one partition and a week of retention',
    file: `${folder}/producer.ts`,
    from: 'allowAutoTopicCreation: false,',
    to: '',
    test: intTest('the producer creates no topic'),
  },
  {
    rule: 'a state topic that is not compacted is refused',
    prevents: 'a state topic that loses customers without a recent event',
    file: `${folder}/topic-rules.ts`,
    from: `if (policy !== 'compact')`,
    to: 'if (false)',
    test: unit(`${folder}/topic-check.test.ts`, 'refuses a changelog that is not compacted'),
  },
  {
    rule: 'kafkajs writes its header before the bytes of a request',
    prevents: 'two copies of each request to Kafka, in new and cleared memory',
    file: `${folder}/patches/index.ts`,
    from: '\n  patchEncoder()',
    to: '',
    test: unit(
      `${folder}/patches/request-bytes.test.ts`,
      'kafkajs puts its header before a request of 100 bytes without copying the request',
    ),
  },
  {
    rule: 'the memory of a request without a response is not used again',
    prevents: 'a request of a slow broker whose bytes are those of a later request',
    file: `${folder}/patches/produce-request.ts`,
    from: '        bytes = encodeProduce(args)\n',
    to: '        bytes = encodeProduce(args)\n        bytes.free()\n',
    test: unit(
      `${folder}/patches/produce-request.test.ts`,
      'the memory of a request is used again only after its response',
    ),
  },
  {
    rule: 'the length of a string in a record is counted in bytes',
    prevents: 'a batch that Kafka refuses, because one header is not ASCII',
    file: `${folder}/patches/produce-request.ts`,
    from: "typeof bytes === 'string' ? Buffer.byteLength(bytes)",
    to: "typeof bytes === 'string' ? bytes.length",
    test: unit(
      `${folder}/patches/produce-request.test.ts`,
      'the encoder writes the same bytes as kafkajs for any records',
    ),
  },
  {
    rule: 'a batch has the CRC-32C of all its bytes',
    prevents: 'a batch that Kafka refuses as corrupt',
    file: `${folder}/crc32c.ts`,
    from: 'for (; at < end; at++)',
    to: 'for (; at < end - 1; at++)',
    test: unit(`${folder}/crc32c.test.ts`, 'crc32c agrees with kafkajs for any part of any bytes'),
  },
  {
    rule: 'the search for the coordinator throws the error of the broker',
    prevents: 'a missing right to the group that looks like an endless outage',
    file: `${folder}/patches/index.ts`,
    from: '\n  patchCoordinatorSearch()',
    to: '',
    test: accessTest('when it gets the right to read its group'),
  },
  {
    rule: 'a refused login is retried seldom, and only once for all clients',
    prevents: 'an account that is locked, because each client logs in again and again',
    file: `${folder}/patches/index.ts`,
    from: '\n  patchLogin()',
    to: '',
    test: accessTest('after a refused login, all clients of the process pause before the next login'),
  },
]
