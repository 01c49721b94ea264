export const KAFKA_VERSION = '4.3.1'

/** Of any Kafka that is one broker and its own controller, as a test wants it: nothing replicated, no wait for further group members. */
export const singleBroker: Readonly<Record<string, string>> = {
  'process.roles': 'broker,controller',
  'node.id': '1',
  'controller.listener.names': 'CONTROLLER',
  'offsets.topic.replication.factor': '1',
  'offsets.topic.num.partitions': '1',
  'transaction.state.log.replication.factor': '1',
  'transaction.state.log.min.isr': '1',
  'share.coordinator.state.topic.replication.factor': '1',
  'share.coordinator.state.topic.min.isr': '1',
  'group.initial.rebalance.delay.ms': '0',
  'auto.create.topics.enable': 'false',
  'num.network.threads': '2',
  'num.io.threads': '2',
}

/** The last line of a start, from KafkaRaftServer: the broker is unfenced and its listeners take requests. */
export const STARTED_LINE = 'Kafka Server started'
