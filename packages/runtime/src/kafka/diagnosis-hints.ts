/** Right that a request to Kafka needs, by name of the request. */
export const rights: Readonly<Record<string, string>> = {
  Metadata: 'DESCRIBE on the topic (included in READ and WRITE)',
  ListOffsets: 'DESCRIBE on the topic (included in READ)',
  Produce: 'WRITE on the topic',
  Fetch: 'READ on the topic',
  DescribeConfigs: 'DESCRIBE_CONFIGS on the topic',
  CreateTopics: 'CREATE on the topic or on the cluster',
  GroupCoordinator: 'READ on the group',
  JoinGroup: 'READ on the group',
  SyncGroup: 'READ on the group',
  Heartbeat: 'READ on the group',
  OffsetFetch: 'READ on the group and on the topic',
  OffsetCommit: 'READ on the group and on the topic',
  DeleteGroups: 'DELETE on the group',
  InitProducerId: 'WRITE on transactional ids that begin with CONSUMER_GROUP_ID, or set KAFKA_STATE_FENCE=false',
}

/**
 * Returns the request whose right includes all other rights that this work (`doing`) needs.
 * Undefined if there is no such request.
 */
export const rightNeededTo = (doing: string, type: string): string | undefined => {
  if (doing.startsWith('write to')) return 'Produce'
  if (doing.startsWith('delete a group')) return 'DeleteGroups'
  if (doing.startsWith('use the transactional id')) return 'InitProducerId'
  return doing.startsWith('read topic') && type === 'TOPIC_AUTHORIZATION_FAILED' ? 'Fetch' : undefined
}

/** Advice for an operator if a topic cannot be created, by Kafka's name of the error. */
export const creationHints: Readonly<Record<string, string>> = {
  POLICY_VIOLATION:
    'A policy of the brokers forbids this topic: create the topics by hand with KAFKA_CREATE_TOPICS=false, or ask ' +
    'the owner of the policy.',
  INVALID_REPLICATION_FACTOR:
    'Kafka has fewer brokers than KAFKA_REPLICATION_FACTOR: start the missing brokers, or lower the setting.',
  INVALID_PARTITIONS: 'Check KAFKA_PARTITIONS.',
  INVALID_CONFIG:
    'The brokers do not know a setting of the topic: see the supported versions of Kafka in docs/operating.md.',
  INVALID_TOPIC_EXCEPTION: 'Check KAFKA_TOPIC_PREFIX.',
}

/** Advice for an operator if the group refuses a member, by Kafka's name of the error. */
export const groupHints: Readonly<Record<string, string>> = {
  INVALID_GROUP_ID: 'Check CONSUMER_GROUP_ID.',
  INCONSISTENT_GROUP_PROTOCOL:
    'Other programs are in this group: give this installation a CONSUMER_GROUP_ID of its own.',
  INVALID_SESSION_TIMEOUT:
    'CONSUMER_SESSION_TIMEOUT_MS must be within group.min.session.timeout.ms and group.max.session.timeout.ms ' +
    'of the brokers.',
  GROUP_MAX_SIZE_REACHED:
    'The group has as many members as the brokers allow: stop some members, or raise group.max.size.',
}

/**
 * Returns the topic that a coordinator needs, and the server setting that decides how many brokers
 * this topic needs.
 */
export const coordinatorNeeds = (doing: string): { of: string; topic: string; setting: string } =>
  doing.startsWith('use the transactional id')
    ? { of: 'this id', topic: '__transaction_state', setting: 'transaction.state.log.replication.factor' }
    : { of: 'the group', topic: '__consumer_offsets', setting: 'offsets.topic.replication.factor' }

/** Texts about an outage, by Node's name of the error. Each text completes "The broker …". */
export const outageCodes: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'refuses connections (ECONNREFUSED)',
  ECONNRESET: 'broke the connection (ECONNRESET)',
  EPIPE: 'broke the connection (EPIPE)',
  ETIMEDOUT: 'does not answer (ETIMEDOUT)',
  EHOSTUNREACH: 'cannot be reached (EHOSTUNREACH)',
  ENETUNREACH: 'cannot be reached (ENETUNREACH)',
  EAI_AGAIN: 'has a host name that the DNS could not resolve for now (EAI_AGAIN)',
}
