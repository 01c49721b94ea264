/** Finds settings of a topic that work, but that are risky. */
import type { KafkaSettings } from './settings.ts'
import { collect, FOREVER_MS, TIMESTAMP_LIMITS, type TopicDemand, type TopicFinding } from './topic-rules.ts'

/** Topic setting of brokers before Kafka 4. One value sets both limits. */
const OLDER_LIMIT = 'message.timestamp.difference.max.ms'

/** Returns, for each limit, what happens if Kafka refuses timestamps beyond this limit. */
const refusedBy = ({ kind }: TopicDemand): Readonly<Record<(typeof TIMESTAMP_LIMITS)[number], string>> =>
  // A document has the timestamp of its event. An erasure has the timestamp of another producer.
  kind === 'changelog'
    ? {
        'message.timestamp.after.max.ms':
          'the projector could not publish the events of an ingress whose clock is ahead by more than the limit, and ' +
          'would wait',
        'message.timestamp.before.max.ms':
          'the projector could not publish events that are older than the limit, for example after an outage, and ' +
          'would wait',
      }
    : {
        'message.timestamp.after.max.ms': 'an ingress whose clock is ahead by more than the limit would store nothing',
        'message.timestamp.before.max.ms':
          'Kafka would refuse events that waited in the spool or in quarantine for longer than the limit, and the ' +
          'events of an ingress whose clock is behind by more than the limit',
      }

/** Returns settings that work but should be checked by a person. */
export const warningsOf = (
  settings: KafkaSettings,
  demand: TopicDemand,
  replicas: readonly number[],
  config: ReadonlyMap<string, string>,
): TopicFinding[] => {
  const warnings: TopicFinding[] = []
  const warn = collect(warnings, settings, demand)
  const { kind, writes = false } = demand
  if (kind !== 'audit' && replicas.length > settings.KAFKA_PARTITIONS) {
    warn(
      `has ${replicas.length} partitions, KAFKA_PARTITIONS says ${settings.KAFKA_PARTITIONS}: new events of a ` +
        'customer may be in another partition than its old events, so only the versions show which event is newer. ' +
        `Set KAFKA_PARTITIONS=${replicas.length}`,
    )
  }
  // The timestamps of an audit come from the clock of an operator's machine, not of an ingress.
  const isOfEvents = kind !== 'audit' && (writes || kind !== 'changelog')
  for (const name of isOfEvents ? TIMESTAMP_LIMITS : []) {
    // If the topic lacks this limit, Kafka 3.6 to 3.9 uses the older setting.
    const used = (config.get(name) ?? FOREVER_MS) === FOREVER_MS ? OLDER_LIMIT : name
    if ((config.get(used) ?? FOREVER_MS) !== FOREVER_MS)
      warn(`${used} is limited: ${refusedBy(demand)[name]}. Set it to ${FOREVER_MS}`, used === name ? name : undefined)
  }
  const [fewest, inSync] = [Math.min(...replicas), Number(config.get('min.insync.replicas'))]
  if (fewest >= 2 && inSync === fewest)
    warn(
      `min.insync.replicas is ${inSync}, and a partition has ${fewest} replicas: while one of its brokers restarts, ` +
        'Kafka stores no record in this partition',
      settings.KAFKA_REPLICATION_FACTOR >= 3 ? 'min.insync.replicas' : undefined,
    )
  if (fewest >= 3 && inSync < 2)
    warn(
      'min.insync.replicas is 1: while other brokers are down, an acknowledged event is on one broker only',
      settings.KAFKA_REPLICATION_FACTOR >= 3 ? 'min.insync.replicas' : undefined,
    )
  return warnings
}
