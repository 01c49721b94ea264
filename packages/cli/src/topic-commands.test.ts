import { loadSettings } from '@customer-stream/runtime'
import { kafkaSettings } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import { topicCommands } from './topic-commands.ts'

const plain = loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:9092,b:9092' })
const none = { problems: [], warnings: [] }

it('for a missing topic, one printed command creates the topic with its settings', () => {
  const topic = { topic: 't', partitions: 12, replicationFactor: 3, config: { 'retention.ms': '-1', 'a.b': 'c' } }
  expect(topicCommands(plain, [topic], none).commands).toEqual([
    'kafka-topics.sh --bootstrap-server a:9092,b:9092 --create --if-not-exists --topic t ' +
      '--partitions 12 --replication-factor 3 --config retention.ms=-1 --config a.b=c',
  ])
})

it('one command is printed for all corrections of one topic', () => {
  const findings = {
    problems: [
      { topic: 't', text: 'x', correction: { name: 'retention.ms', value: '-1' } },
      { topic: 'other', text: 'x', correction: { name: 'retention.ms', value: '7' } },
    ],
    warnings: [{ topic: 't', text: 'x', correction: { name: 'min.insync.replicas', value: '2' } }],
  }
  expect(topicCommands(plain, [], findings)).toEqual({
    commands: [
      'kafka-configs.sh --bootstrap-server a:9092,b:9092 --alter --entity-type topics --entity-name t ' +
        '--add-config retention.ms=-1,min.insync.replicas=2',
      'kafka-configs.sh --bootstrap-server a:9092,b:9092 --alter --entity-type topics --entity-name other ' +
        '--add-config retention.ms=7',
    ],
    notes: [],
  })
})

it('if no command can correct a problem, the problem becomes a note', () => {
  const findings = { problems: [{ topic: 't', text: 'has 1 replicas' }], warnings: [] }
  expect(topicCommands(plain, [], findings)).toEqual({
    commands: [],
    notes: ['No command corrects this problem: t: has 1 replicas'],
  })
})

it.each([
  { KAFKA_SSL: 'true' },
  { KAFKA_SASL_MECHANISM: 'scram-sha-512', KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 'secret' },
])('with the settings %o the printed commands read the login from a file', (given) => {
  const settings = loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:9092', ...given })
  const topic = { topic: 't', partitions: 1, replicationFactor: 1, config: {} }
  const { commands, notes } = topicCommands(settings, [topic], none)
  expect(commands[0]).toContain('--bootstrap-server a:9092 --command-config client.properties --create')
  expect(notes.join()).toContain('client.properties must have the login')
  expect(JSON.stringify([commands, notes])).not.toContain('secret')
})

it('the printed commands quote a broker address that a shell would interpret', () => {
  const settings = loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a$b:9092' })
  const topic = { topic: 't', partitions: 1, replicationFactor: 1, config: {} }
  expect(topicCommands(settings, [topic], none).commands[0]).toContain("--bootstrap-server 'a$b:9092' --create")
})
