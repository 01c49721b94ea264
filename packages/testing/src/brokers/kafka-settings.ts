/** `CUSTOMER_STREAM_KAFKA_VERSION` selects another release for an experiment. */
export const KAFKA_VERSION = process.env.CUSTOMER_STREAM_KAFKA_VERSION ?? '4.3.1'

/**
 * Settings of every node. Each node is broker and controller. Few threads, and no wait for further
 * group members, make the tests fast.
 */
const anyBroker = {
  'process.roles': 'broker,controller',
  'controller.listener.names': 'CONTROLLER',
  'group.initial.rebalance.delay.ms': '0',
  'num.network.threads': '2',
  'num.io.threads': '2',
}

/** Settings of a single broker, which has the only replica of each partition. */
export const singleBroker: Readonly<Record<string, string>> = {
  ...anyBroker,
  'node.id': '1',
  // Kafka's default. With this value, tests notice a client that creates a topic by a metadata
  // request.
  'auto.create.topics.enable': 'true',
  'offsets.topic.replication.factor': '1',
  'offsets.topic.num.partitions': '1',
  'transaction.state.log.replication.factor': '1',
  'transaction.state.log.min.isr': '1',
  'share.coordinator.state.topic.replication.factor': '1',
  'share.coordinator.state.topic.min.isr': '1',
}

export const CLUSTER_SIZE = 3

/**
 * Settings of each of three brokers. As in production, every topic survives the loss of one broker.
 * The other brokers notice the loss within seconds.
 */
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

/** Last log line of a start, from KafkaRaftServer. After this line the broker accepts requests. */
export const STARTED_LINE = 'Kafka Server started'
