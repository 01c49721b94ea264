import { Counter, Gauge, Histogram, type Registry, startAtZero } from '@customer-stream/runtime/service'
import type { End } from './delivery/publisher.ts'
import { FAILED_CHECKS, SENDERS } from './http/authenticate.ts'
import { createEventsAtRisk } from './http/events-at-risk.ts'
import { type Problem, problems } from './http/problem.ts'
import { EVENT_TYPES, SUSPICIONS } from './http/webhook-route.ts'
import type { SpoolDamage } from './spool/segment.ts'

const problemNames = Object.keys(problems) as Problem[]
// The keys are typed, so the compiler reports a missing name.
const ends = Object.keys({
  stored: 1,
  spooled: 1,
  deadline: 1,
  'queue-full': 1,
  refused: 1,
  closing: 1,
} satisfies Record<End | 'spooled', 1>)
const damages = Object.keys({ 'torn-tail': 1, damage: 1, unreadable: 1, refused: 1, foreign: 1 } satisfies Record<
  SpoolDamage['what'],
  1
>)

interface Size {
  readonly records: number
  readonly bytes: number
}
/** Counts of isolated partitions. */
interface Isolated {
  readonly failing: number
  readonly slow: number
}
interface SpoolSize extends Size {
  readonly uncountedBytes: number
  readonly oldestAt: number | undefined
}

/** Functions from which the gauges read their values. */
interface Sources {
  readonly size: () => Size
  readonly spoolSize: () => SpoolSize | undefined
  readonly isolated: () => Isolated
}

const NO_SPOOL: SpoolSize = { records: 0, bytes: 0, uncountedBytes: 0, oldestAt: undefined }

const SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
const ANSWER_CLASSES = ['2xx', '4xx', '5xx'] as const

const createRequestSeconds = (registers: Registry[]) => {
  const histogram = new Histogram({
    name: 'ingress_request_seconds',
    help:
      'Time from the arrival of a webhook request’s headers until the answer, by class of the status code. Answers ' +
      'of Node’s HTTP parser are not included.',
    buckets: SECONDS,
    labelNames: ['class'],
    registers,
  })
  for (const name of ANSWER_CLASSES) histogram.zero({ class: name })
  return histogram
}

const createQueueGauges = (registers: Registry[], { size, isolated }: Pick<Sources, 'size' | 'isolated'>) => {
  new Gauge({
    name: 'ingress_queue_records',
    help: 'Records in memory that wait for Kafka or are in flight.',
    registers,
    collect() {
      this.set(size().records)
    },
  })
  new Gauge({
    name: 'ingress_queue_bytes',
    help: 'Bytes of records in memory that wait for Kafka or are in flight.',
    registers,
    collect() {
      this.set(size().bytes)
    },
  })
  new Gauge({
    name: 'ingress_partitions_failing',
    help:
      'Partitions, over all topics, whose last flush failed. The ingress retries these partitions separately, ' +
      'even without new events. They delay no other partition.',
    registers,
    collect() {
      this.set(isolated().failing)
    },
  })
  new Gauge({
    name: 'ingress_partitions_slow',
    help:
      'Partitions, over all topics, whose last flush took more than 200 ms and ended within the last minute. The ' +
      'ingress flushes them separately. They delay no other partition.',
    registers,
    collect() {
      this.set(isolated().slow)
    },
  })
}

const createSpoolMetrics = (registers: Registry[], { spoolSize }: Pick<Sources, 'spoolSize'>) => {
  const spoolGauge = (name: string, help: string, read: (size: SpoolSize) => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read(spoolSize() ?? NO_SPOOL))
      },
    })
  spoolGauge(
    'ingress_spool_records',
    'Records in the spool that are not in Kafka yet. Does not include the records of `ingress_spool_uncounted_bytes`.',
    ({ records }) => records,
  )
  spoolGauge(
    'ingress_spool_uncounted_bytes',
    'Bytes of the spool files whose records are not counted yet, because the drain has not read these files since ' +
      'the start.',
    ({ uncountedBytes }) => uncountedBytes,
  )
  spoolGauge('ingress_spool_bytes', 'Bytes of the spool on disk, including `.damaged` files.', ({ bytes }) => bytes)
  spoolGauge('ingress_spool_oldest_seconds', 'Age of the oldest record in the spool.', ({ oldestAt }) =>
    oldestAt === undefined ? 0 : Math.max(0, Date.now() - oldestAt) / 1000,
  )
  const metrics = {
    spoolDamage: new Counter({
      name: 'ingress_spool_damage_total',
      help:
        'Damage in the spool, by kind: `torn-tail` (an interrupted last write), `damage`, `unreadable`, `refused` ' +
        '(by Kafka), `foreign` (not our format).',
      labelNames: ['what'],
      registers,
    }),
    spoolLost: new Counter({
      name: 'ingress_spool_lost_records_total',
      help:
        'Acknowledged records that cannot be read from the spool. A gap with an unknown number of records ' +
        'counts as 1.',
      registers,
    }),
    spoolErrors: new Counter({
      name: 'ingress_spool_errors_total',
      help:
        'Events that could not be written to the spool, because its disk is full, read-only or broken. Each of these ' +
        'events got 503, unless Kafka stored the event.',
      registers,
    }),
    spoolDrainFailures: new Counter({
      name: 'ingress_spool_drain_failures_total',
      help:
        'Sends of spooled records that failed, because Kafka did not accept all records. The ingress retries the ' +
        'remaining records. Normal during an outage.',
      registers,
    }),
  }
  startAtZero(metrics.spoolDamage, { what: damages })
  return metrics
}

const createAnswerMetrics = (registers: Registry[]) => {
  const eventsAtRisk = createEventsAtRisk()
  new Gauge({
    name: 'ingress_events_at_risk',
    help:
      'Events of the last 24 hours that got 503 and were not accepted later, at most 10,000. Events whose repeat ' +
      'another ingress accepted are included, so the number is an upper limit.',
    registers,
    collect() {
      this.set(eventsAtRisk.size)
    },
  })
  const metrics = {
    answers: new Counter({
      name: 'ingress_answers_total',
      help: 'Answers to requests, by answer: `accepted`, or the type of the problem.',
      labelNames: ['answer'],
      registers,
    }),
    acceptSeconds: new Histogram({
      name: 'ingress_accept_seconds',
      help: 'Time from the arrival of a request’s headers until its answer 202.',
      buckets: SECONDS,
      registers,
    }),
    requestSeconds: createRequestSeconds(registers),
    lastEvent: new Gauge({
      name: 'ingress_last_event_timestamp_seconds',
      help: 'Unix time of the last answer of 202. 0 if there was none since the start.',
      registers,
    }),
    lastRefusal: new Gauge({
      name: 'ingress_last_refusal_timestamp_seconds',
      help:
        'Unix time of the last answer of 4xx to a request with a signature or a token. 0 if there was none since the ' +
        'start.',
      registers,
    }),
    eventsAtRisk,
    connections: new Gauge({
      name: 'ingress_connections',
      help: 'Open connections to the public port. `MAX_CONNECTIONS` is the limit.',
      registers,
    }),
    dropped: new Counter({
      name: 'ingress_connections_dropped_total',
      help: 'Connections closed without an answer, because `MAX_CONNECTIONS` were open.',
      registers,
    }),
  }
  startAtZero(metrics.answers, { answer: ['accepted', ...problemNames] })
  return metrics
}

const createSenderMetrics = (registers: Registry[]) => {
  const metrics = {
    senderRefusals: new Counter({
      name: 'ingress_sender_refusals_total',
      help:
        'Requests refused with 4xx that have a signature or a token, by type of the problem. `proven`: a known token ' +
        'or a correct signature shows that the sender sent the request. `claimed`: a stranger can send this request.',
      labelNames: ['problem', 'sender'],
      registers,
    }),
    unauthenticated: new Counter({
      name: 'ingress_unauthenticated_total',
      help: 'Requests refused with 401, by the first check that failed.',
      labelNames: ['check'],
      registers,
    }),
    authenticated: new Counter({
      name: 'ingress_authenticated_total',
      help:
        'Authentic requests, by the names of the matching secret and token. A rotation is complete when the count of ' +
        'the old name no longer grows.',
      labelNames: ['secret', 'token'],
      registers,
    }),
    transcoded: new Counter({
      name: 'ingress_transcoded_total',
      help: 'Authentic requests whose body was sent in another charset than the signed text.',
      registers,
    }),
    suspicious: new Counter({
      name: 'ingress_suspicious_events_total',
      help:
        'Events answered with 202 that will probably never be applied. `old-timestamp`: the timestamp is ' +
        'before 2001, perhaps in seconds. `type-spelling`: the type differs from a known type only in case, blanks ' +
        'or hyphens.',
      labelNames: ['what'],
      registers,
    }),
  }
  startAtZero(metrics.senderRefusals, {
    problem: problemNames.filter((problem) => problems[problem].status < 500),
    sender: SENDERS,
  })
  startAtZero(metrics.unauthenticated, { check: FAILED_CHECKS })
  startAtZero(metrics.suspicious, { what: SUSPICIONS })
  return metrics
}

const createRecordMetrics = (registers: Registry[]) => {
  const metrics = {
    published: new Counter({
      name: 'ingress_published_total',
      help: 'Records that the ingress tried to store, by kind of event and outcome.',
      labelNames: ['event', 'outcome'],
      registers,
    }),
    refused: new Counter({
      name: 'ingress_refused_records_total',
      help:
        'Records that Kafka will never accept. A record counts once for each attempt. `quarantined` says whether ' +
        'quarantine has the bytes.',
      labelNames: ['quarantined'],
      registers,
    }),
    flushRecords: new Histogram({
      name: 'ingress_flush_records',
      help: 'Records in a flush to Kafka.',
      buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500],
      registers,
    }),
    flushSeconds: new Histogram({
      name: 'ingress_flush_seconds',
      help: 'Duration of a flush to Kafka.',
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
      registers,
    }),
    flushErrors: new Counter({
      name: 'ingress_flush_errors_total',
      help: 'Flushes that failed. The ingress retries each record until the record’s deadline.',
      registers,
    }),
    unacknowledged: new Counter({
      name: 'ingress_unacknowledged_records_total',
      help:
        'Records that kafkajs reported as sent although no broker had acknowledged their partition. The ' +
        'ingress sent these records again.',
      registers,
    }),
  }
  startAtZero(metrics.published, { event: EVENT_TYPES, outcome: ends })
  startAtZero(metrics.refused, { quarantined: ['yes', 'no'] })
  return metrics
}

export const createIngressMetrics = (registry: Registry, sources: Sources) => {
  const registers = [registry]
  createQueueGauges(registers, sources)
  return {
    ...createSpoolMetrics(registers, sources),
    ...createAnswerMetrics(registers),
    ...createSenderMetrics(registers),
    ...createRecordMetrics(registers),
  }
}

export type IngressMetrics = ReturnType<typeof createIngressMetrics>
