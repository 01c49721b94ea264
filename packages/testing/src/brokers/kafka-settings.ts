export const KAFKA_VERSION = '4.3.1'

/** Every node is broker and controller, as a test wants it: no wait for further group members, few threads. */
const anyBroker = {
  'process.roles': 'broker,controller',
  'controller.listener.names': 'CONTROLLER',
  'group.initial.rebalance.delay.ms': '0',
  'num.network.threads': '2',
  'num.io.threads': '2',
}

/** Of any Kafka that is one broker and its own controller: nothing replicated. */
export const singleBroker: Readonly<Record<string, string>> = {
  ...anyBroker,
  'node.id': '1',
  // Kafka's own default: what merely asks for a topic must not make it.
  'auto.create.topics.enable': 'true',
  'offsets.topic.replication.factor': '1',
  'offsets.topic.num.partitions': '1',
  'transaction.state.log.replication.factor': '1',
  'transaction.state.log.min.isr': '1',
  'share.coordinator.state.topic.replication.factor': '1',
  'share.coordinator.state.topic.min.isr': '1',
}

export const CLUSTER_SIZE = 3

/** Of each of three: every topic survives the loss of one broker, as in production, and the loss shows within seconds. */
export const clusterBroker: Readonly<Record<string, string>> = {
  ...anyBroker,
  'auto.create.topics.enable': 'false',
  'default.replication.factor': '3',
  'min.insync.replicas': '2',
  'unclean.leader.election.enable': 'false',
  'offsets.topic.replication.factor': '3',
  'offsets.topic.num.partitions': '3',
  'transaction.state.log.replication.factor': '3',
  'transaction.state.log.num.partitions': '3',
  'transaction.state.log.min.isr': '2',
  'share.coordinator.state.topic.replication.factor': '3',
  'share.coordinator.state.topic.num.partitions': '3',
  'share.coordinator.state.topic.min.isr': '2',
  'controlled.shutdown.enable': 'true',
  'broker.heartbeat.interval.ms': '500',
  'broker.session.timeout.ms': '3000',
  'replica.lag.time.max.ms': '5000',
  'auto.leader.rebalance.enable': 'true',
  'leader.imbalance.check.interval.seconds': '5',
}

/** The last line of a start, from KafkaRaftServer: the broker is unfenced and its listeners take requests. */
export const STARTED_LINE = 'Kafka Server started'
