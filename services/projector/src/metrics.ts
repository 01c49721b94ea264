import { Counter, Gauge, Histogram, type Registry, startAtZero } from '@customer-stream/runtime/service'
import type { QuarantineReason } from './project.ts'
import type { StoreOutcome } from './snapshot-calls.ts'

// The keys are typed, so the compiler reports a missing outcome or reason.
const outcomes = Object.keys({ applied: 1, duplicate: 1, stale: 1, erased: 1, quarantined: 1 } satisfies Record<
  StoreOutcome | 'quarantined',
  1
>)
export const quarantineReasons = Object.keys({
  'not-utf8': 1,
  'not-json': 1,
  'nested-too-deep': 1,
  'not-an-object': 1,
  'missing-type': 1,
  'payload-not-json': 1,
  'payload-not-an-object': 1,
  'missing-customer': 1,
  'missing-customer-uuid': 1,
  'invalid-customer-uuid': 1,
  'missing-event-id': 1,
  'invalid-event-id': 1,
  'invalid-timestamp': 1,
  'too-many-fields': 1,
  'not-a-customers-event': 1,
  'too-far-in-future': 1,
  'named-by-setting': 1,
  'unreadable-batch': 1,
} satisfies Record<QuarantineReason, 1>)

const operations = ['Redis', 'quarantine', 'state', 'erasures', 'positions']

const createProgressMetrics = (registers: Registry[], { groupId, topic }: { groupId: string; topic: string }) => {
  const measuredAt = new Map<number, number>()
  // Common Kafka exporters use this name and these labels, so existing dashboards work.
  const lag = new Gauge({
    name: 'kafka_consumergroup_lag',
    help:
      'Records between the position in Redis and the end of the partition. Every projector exports all partitions, ' +
      'including the partitions of other projectors. So aggregate with max by (topic, partition), then sum.',
    labelNames: ['consumergroup', 'topic', 'partition'],
    registers,
  })
  new Gauge({
    name: 'projector_lag_age_seconds',
    help:
      'Time since the lag of a partition was last measured. This time grows while the partition has no leader, or ' +
      'while Kafka or Redis does not answer. The lag then keeps its last known value.',
    labelNames: ['topic', 'partition'],
    registers,
    collect() {
      for (const [partition, at] of measuredAt)
        this.set({ topic, partition: String(partition) }, (performance.now() - at) / 1000)
    },
  })
  return {
    /** Sets the lag of a partition in records. */
    observeLag: (partition: number, records: number) => {
      measuredAt.set(partition, performance.now())
      lag.set({ consumergroup: groupId, topic, partition: String(partition) }, records)
    },
    standstillSeconds: new Gauge({
      name: 'projector_standstill_seconds',
      help:
        'Longest time, over all partitions, for which a partition has had records to apply while its position has ' +
        'not moved. Includes the partitions of other projectors.',
      registers,
    }),
    lostRecords: new Counter({
      name: 'projector_lost_records_total',
      help: 'Offsets that Kafka deleted before they were applied. Redis never gets their events.',
      registers,
    }),
  }
}

const createRecordMetrics = (registers: Registry[]) => {
  const metrics = {
    events: new Counter({
      name: 'projector_events_total',
      help:
        'Records by outcome: applied, duplicate, stale, erased or quarantined. A record that is read again is ' +
        'counted again. If Redis applied a record but its reply was lost, the retry counts the record as a duplicate.',
      labelNames: ['outcome'],
      registers,
    }),
    quarantined: new Counter({
      name: 'projector_quarantined_total',
      help: 'Records put into quarantine, by reason.',
      labelNames: ['reason'],
      registers,
    }),
    failures: new Counter({
      name: 'projector_failures_total',
      help: 'Failed attempts that are retried, by operation: Redis, quarantine, state, erasures or positions.',
      labelNames: ['operation'],
      registers,
    }),
    operationSeconds: new Histogram({
      name: 'projector_operation_seconds',
      help: 'Time of one attempt, successful or not, by operation: Redis, quarantine, state, erasures or positions.',
      labelNames: ['operation'],
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
      registers,
    }),
    rewinds: new Counter({
      name: 'projector_rewinds_total',
      help: 'Number of times that a partition went back because Redis did not have the expected position.',
      registers,
    }),
  }
  startAtZero(metrics.events, { outcome: outcomes })
  startAtZero(metrics.quarantined, { reason: quarantineReasons })
  startAtZero(metrics.failures, { operation: operations })
  for (const operation of operations) metrics.operationSeconds.zero({ operation })
  return metrics
}

const createStateTopicMetrics = (registers: Registry[]) => ({
  stateRecords: new Counter({
    name: 'projector_state_records_total',
    help: 'Documents and tombstones published in the state topic.',
    registers,
  }),
  stateRepairs: new Counter({
    name: 'projector_state_repairs_total',
    help:
      'Number of times that this process published documents of a partition after another projector got that ' +
      'partition. The other projector applies the records again and publishes the current documents.',
    registers,
  }),
  fillRecords: new Gauge({
    name: 'projector_fill_records',
    help: 'Records of the state topic that the running fill of Redis reads in total. 0 if no fill runs.',
    registers,
  }),
  fillRemaining: new Gauge({
    name: 'projector_fill_remaining_records',
    help: 'Records of the state topic that the running fill of Redis must still read.',
    registers,
  }),
  fillSecondsLeft: new Gauge({
    name: 'projector_fill_left_seconds',
    help: 'Estimated time until this process has filled Redis from the state topic.',
    registers,
  }),
  unusableStates: new Counter({
    name: 'projector_unusable_states_total',
    help: 'Records of the state topic that are not documents. A fill of Redis skips these records.',
    registers,
  }),
  unreadableStates: new Counter({
    name: 'projector_unreadable_states_total',
    help:
      'Offsets of the state topic that a fill skipped, because Kafka no longer has them or their batch cannot ' +
      'be decoded. After the fill, all records of the raw topic are applied.',
    registers,
  }),
})

const createSenderMetrics = (registers: Registry[]) => ({
  driftDifferences: new Gauge({
    name: 'projector_drift_differences',
    help:
      'Differences between the sender’s events and its documentation: unknown fields, other types, new values, ' +
      'large values. All projectors share this number. `customer-stream drift` lists the differences.',
    registers,
  }),
  silentDealers: new Gauge({
    name: 'projector_silent_dealers',
    help:
      'Dealers without events for much longer than is usual for them. All projectors export the same number. ' +
      'The log line `dealer-silent` names them.',
    registers,
  }),
})

const createErasureMetrics = (registers: Registry[]) => ({
  erasures: new Counter({
    name: 'projector_erasures_total',
    help:
      'Executed erasures. After a loss of Redis, or after a projector was killed, erasures are executed and counted ' +
      'again.',
    registers,
  }),
  unusableErasures: new Counter({
    name: 'projector_unusable_erasures_total',
    help: 'Records of the erasures topic that are not erasures. These records erased no customer.',
    registers,
  }),
})

const createChunkMetrics = (registers: Registry[]) => ({
  assignedPartitions: new Gauge({
    name: 'projector_assigned_partitions',
    help: 'Partitions that the consumer group has assigned to this process.',
    registers,
  }),
  pausedPartitions: new Gauge({
    name: 'projector_held_partitions',
    help:
      'Partitions that are paused while the others continue: quarantine or the state topic does not accept a ' +
      'record, or a person must look at a record.',
    registers,
  }),
  chunkSeconds: new Histogram({
    name: 'projector_chunk_seconds',
    help: 'Time to apply one chunk of records.',
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5],
    registers,
  }),
  freshnessSeconds: new Histogram({
    name: 'projector_freshness_seconds',
    help: 'Time from the receipt of a chunk’s last event until the event is visible in Redis.',
    buckets: [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30, 60, 300, 3600],
    registers,
  }),
})

export const createProjectorMetrics = (registry: Registry, source: { groupId: string; topic: string }) => {
  const registers = [registry]
  return {
    ...createProgressMetrics(registers, source),
    ...createRecordMetrics(registers),
    ...createStateTopicMetrics(registers),
    ...createSenderMetrics(registers),
    ...createErasureMetrics(registers),
    ...createChunkMetrics(registers),
  }
}

export type ProjectorMetrics = ReturnType<typeof createProjectorMetrics>
