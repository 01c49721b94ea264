import { Counter, Gauge, Histogram, type Registry, startAtZero } from '@customer-stream/runtime/service'
import { QUARANTINE_REASONS } from '@customer-stream/schemas'
import { STREAM_ENDS } from './changes/change-stream.ts'
import { FAILED_CHECKS } from './http/api-keys.ts'
import { problems } from './http/problem.ts'

const SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
const ANSWER_CLASSES = ['2xx', '3xx', '4xx', '5xx'] as const

/** Answers that are not problems. */
const ANSWERS = ['ok', 'not-modified'] as const

const createStreamMetrics = (registry: Registry) => {
  const registers = [registry]
  const metrics = {
    streams: new Gauge({
      name: 'reader_streams',
      help: 'Open streams of changes. `READER_MAX_STREAMS` is the limit.',
      registers,
    }),
    streamEvents: new Counter({
      name: 'reader_stream_events_total',
      help: 'Events that were sent to streams: `changed` or `removed`.',
      labelNames: ['event'],
      registers,
    }),
    streamEnds: new Counter({
      name: 'reader_streams_ended_total',
      help:
        'Ended streams, by reason: `client` (the client closed it), `slow` (the client read too slowly), `key` (the ' +
        'API keys have changed), `topic` (the state topic was created again), `kafka` (Kafka did not answer), `stop`.',
      labelNames: ['reason'],
      registers,
    }),
  }
  startAtZero(metrics.streamEvents, { event: ['changed', 'removed'] })
  startAtZero(metrics.streamEnds, { reason: STREAM_ENDS })
  return metrics
}

/** Returns a function that sets the metric. Undefined means that the numbers are not known. */
const createQuarantineMetric = (registry: Registry) => {
  const gauge = new Gauge({
    name: 'reader_quarantine_open_records',
    help:
      'Records of quarantine that no operator has redriven or dropped, by reason, among its newest 20,000 records. ' +
      '`other` has the reasons that this version does not know. Absent while the numbers are not known. All readers ' +
      'export the same numbers.',
    labelNames: ['reason'],
    registers: [registry],
  })
  return (openByReason: Readonly<Record<string, number>> | undefined): void => {
    // An old number, or 0, would look like the current number.
    gauge.reset()
    if (openByReason === undefined) return
    for (const reason of [...Object.keys(QUARANTINE_REASONS), 'other']) gauge.set({ reason }, 0)
    for (const [reason, records] of Object.entries(openByReason))
      gauge.inc({ reason: Object.hasOwn(QUARANTINE_REASONS, reason) ? reason : 'other' }, records)
  }
}

export const createReaderMetrics = (registry: Registry) => {
  const registers = [registry]
  const metrics = {
    answers: new Counter({
      name: 'reader_answers_total',
      help: 'Answers to requests, by answer: `ok`, `not-modified`, or the type of the problem.',
      labelNames: ['answer'],
      registers,
    }),
    requestSeconds: new Histogram({
      name: 'reader_request_seconds',
      help:
        'Time from the headers of a request until its answer, by class of the answer. Includes the wait for a ' +
        '`min-version`. Answers of Node’s HTTP parser are not included.',
      buckets: SECONDS,
      labelNames: ['class'],
      registers,
    }),
    requests: new Counter({
      name: 'reader_requests_total',
      help:
        'Requests with a valid API key, by the name of the key. A rotation is complete when the count of the old ' +
        'name no longer grows.',
      labelNames: ['key'],
      registers,
    }),
    unauthenticated: new Counter({
      name: 'reader_unauthenticated_total',
      help: 'Requests refused with 401, by the check that failed.',
      labelNames: ['check'],
      registers,
    }),
    reveals: new Counter({
      name: 'reader_reveals_total',
      help: 'Customers, and records of quarantine, that were shown without a mask. The log has a line for each.',
      registers,
    }),
    waiting: new Gauge({
      name: 'reader_waiting_requests',
      help: 'Requests that wait for a version of a customer. `READ_MAX_WAITING` is the limit.',
      registers,
    }),
    kafkaAvailable: new Gauge({
      name: 'reader_kafka_available',
      help:
        '1 if Kafka answers, otherwise 0. Without Kafka the reader is ready, because only a part of its answers ' +
        'needs Kafka.',
      registers,
    }),
    connections: new Gauge({
      name: 'reader_connections',
      help: 'Open connections to the public port. `MAX_CONNECTIONS` is the limit.',
      registers,
    }),
    dropped: new Counter({
      name: 'reader_connections_dropped_total',
      help: 'Connections closed without an answer, because `MAX_CONNECTIONS` were open.',
      registers,
    }),
  }
  startAtZero(metrics.answers, { answer: [...ANSWERS, ...Object.keys(problems)] })
  startAtZero(metrics.unauthenticated, { check: FAILED_CHECKS })
  for (const name of ANSWER_CLASSES) metrics.requestSeconds.zero({ class: name })
  return { ...metrics, ...createStreamMetrics(registry), setQuarantine: createQuarantineMetric(registry) }
}

export type ReaderMetrics = ReturnType<typeof createReaderMetrics>
