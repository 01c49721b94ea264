/**
 * Writes deploy/grafana/customer-stream.json from the table of panels below: `npm run docs`. A test
 * fails when the file is stale, or when a panel names a metric or label that does not exist.
 */
import { writeFileSync } from 'node:fs'

export interface Panel {
  readonly title: string
  /** Unit by its name in Grafana. `short` is a number without a unit. */
  readonly unit: 'short' | 's' | 'bytes' | 'reqps' | 'cps' | 'percentunit'
  /** Legend and PromQL of each query. The legend may name labels: `{{instance}}`. */
  readonly queries: Readonly<Record<string, string>>
  /** `steps` shows values that change rarely, such as 0 and 1, as steps. */
  readonly steps?: true
}

const rate = (counter: string, by: string) => `sum by (${by}) (rate(${counter}[$__rate_interval]))`
const increase = (counter: string, by: string) => `sum by (${by}) (increase(${counter}[$__rate_interval])) > 0`
const percentile = (share: number, histogram: string, by = 'le') =>
  `histogram_quantile(${share}, sum by (${by}) (rate(${histogram}_bucket[$__rate_interval])))`
const percentiles = (...histograms: readonly string[]) =>
  Object.fromEntries(
    histograms.flatMap((histogram) => [
      [`${histogram} p50`, percentile(0.5, histogram)],
      [`${histogram} p99`, percentile(0.99, histogram)],
    ]),
  )
const LAG = 'max by (consumergroup, topic, partition) (kafka_consumergroup_lag)'

/** The panels of each row of the dashboard, by the title of the row. */
export const dashboardRows: Readonly<Record<string, readonly Panel[]>> = {
  Health: [
    {
      title: 'Ready (1), not ready (0)',
      unit: 'short',
      steps: true,
      queries: { '{{instance}} {{check}}': 'customer_stream_ready' },
    },
    {
      title: 'Waiting for a person, by reason',
      unit: 'short',
      steps: true,
      queries: { '{{instance}} {{reason}}': 'customer_stream_blocked > 0' },
    },
    {
      title: 'Firing alerts',
      unit: 'short',
      steps: true,
      queries: { '{{alertname}}': 'count by (alertname) (ALERTS{alertstate="firing",component="customer-stream"})' },
    },
    {
      title: 'Time until certificates expire',
      unit: 's',
      queries: { '{{instance}} {{setting}}': 'customer_stream_certificate_expiry_timestamp_seconds - time()' },
    },
    {
      title: 'Files of secrets',
      unit: 'short',
      steps: true,
      queries: {
        '{{instance}} wrong': 'customer_stream_secret_files_unusable > 0',
        '{{instance}} changes': increase('customer_stream_secret_changes_total', 'instance'),
      },
    },
  ],
  Flow: [
    {
      title: 'Answers of the ingress',
      unit: 'reqps',
      queries: { '{{answer}}': rate('ingress_answers_total', 'answer') },
    },
    {
      title: 'Records to Kafka',
      unit: 'cps',
      queries: { '{{event}} {{outcome}}': rate('ingress_published_total', 'event, outcome') },
    },
    {
      title: 'Outcomes of the projector',
      unit: 'cps',
      queries: { '{{outcome}}': rate('projector_events_total', 'outcome') },
    },
    {
      title: 'Time since the last event',
      unit: 's',
      queries: {
        '{{instance}}': 'time() - (ingress_last_event_timestamp_seconds > 0)',
        '{{instance}} refused':
          'time() - ingress_last_refusal_timestamp_seconds and ingress_last_refusal_timestamp_seconds > 0',
      },
    },
    {
      title: 'State topic and erasures',
      unit: 'cps',
      queries: {
        'state records': rate('projector_state_records_total', 'job'),
        erasures: rate('projector_erasures_total', 'job'),
      },
    },
    {
      title: 'Authentic requests, by secret and token',
      unit: 'reqps',
      queries: { '{{secret}} {{token}}': rate('ingress_authenticated_total', 'secret, token') },
    },
  ],
  Latency: [
    { title: 'Request to 202', unit: 's', queries: percentiles('ingress_accept_seconds') },
    {
      title: 'Request to its answer, p99',
      unit: 's',
      queries: { '{{class}}': percentile(0.99, 'ingress_request_seconds', 'class, le') },
    },
    { title: 'Receipt to Redis', unit: 's', queries: percentiles('projector_freshness_seconds') },
    {
      title: 'Flush to Kafka, chunk to Redis',
      unit: 's',
      queries: percentiles('ingress_flush_seconds', 'projector_chunk_seconds'),
    },
    {
      title: 'Attempts of the projector, p99',
      unit: 's',
      queries: {
        '{{operation}}': percentile(0.99, 'projector_operation_seconds', 'operation, le'),
      },
    },
  ],
  'Lag and progress': [
    { title: 'Lag, in records', unit: 'short', queries: { '{{topic}}': `sum by (consumergroup, topic) (${LAG})` } },
    {
      title: 'Time since the lag was measured; longest standstill',
      unit: 's',
      queries: {
        '{{instance}} lag measured ago': 'max by (instance) (projector_lag_age_seconds)',
        '{{instance}} standstill': 'max by (instance) (projector_standstill_seconds)',
      },
    },
    {
      title: 'Partitions',
      unit: 'short',
      steps: true,
      queries: {
        '{{instance}} assigned': 'projector_assigned_partitions',
        '{{instance}} held': 'projector_held_partitions',
      },
    },
    {
      title: 'Filling a lost Redis, in records',
      unit: 'short',
      queries: {
        '{{instance}} left': 'projector_fill_remaining_records',
        '{{instance}} all': 'projector_fill_records',
      },
    },
    { title: 'Filling a lost Redis, time left', unit: 's', queries: { '{{instance}}': 'projector_fill_left_seconds' } },
  ],
  'Quarantine and refusals': [
    {
      title: 'Events at risk: got 503, not accepted later',
      unit: 'short',
      queries: { '{{instance}}': 'ingress_events_at_risk' },
    },
    {
      title: 'Quarantined records, by reason',
      unit: 'short',
      queries: { '{{reason}}': increase('projector_quarantined_total', 'reason') },
    },
    {
      title: 'Open records of quarantine, by reason',
      unit: 'short',
      steps: true,
      queries: { '{{reason}}': 'max by (reason) (reader_quarantine_open_records) > 0' },
    },
    {
      title: 'Refused requests of the sender, by problem',
      unit: 'short',
      queries: { '{{problem}} {{sender}}': increase('ingress_sender_refusals_total', 'problem, sender') },
    },
    {
      title: 'Requests with 401, by failed check',
      unit: 'short',
      queries: { '{{check}}': increase('ingress_unauthenticated_total', 'check') },
    },
    {
      title: 'Lost, refused or suspicious records',
      unit: 'short',
      queries: {
        'deleted before they were applied': increase('projector_lost_records_total', 'job'),
        'lost by the spool': increase('ingress_spool_lost_records_total', 'job'),
        'refused by Kafka, in quarantine: {{quarantined}}': increase('ingress_refused_records_total', 'quarantined'),
        'not acknowledged, sent again': increase('ingress_unacknowledged_records_total', 'job'),
        'suspicious: {{what}}': increase('ingress_suspicious_events_total', 'what'),
        'in another charset than signed': increase('ingress_transcoded_total', 'job'),
        'unusable erasures': increase('projector_unusable_erasures_total', 'job'),
        'unreadable documents': increase('projector_unreadable_states_total', 'job'),
        'not documents': increase('projector_unusable_states_total', 'job'),
      },
    },
  ],
  'Kafka and Redis': [
    {
      title: 'Failing and slow partitions',
      unit: 'short',
      steps: true,
      queries: {
        '{{instance}} failing': 'ingress_partitions_failing',
        '{{instance}} slow': 'ingress_partitions_slow',
      },
    },
    { title: 'Records waiting for Kafka', unit: 'short', queries: { '{{instance}}': 'ingress_queue_records' } },
    { title: 'Bytes waiting for Kafka', unit: 'bytes', queries: { '{{instance}}': 'ingress_queue_bytes' } },
    { title: 'Records in a flush to Kafka', unit: 'short', queries: percentiles('ingress_flush_records') },
    {
      title: 'Failed attempts',
      unit: 'cps',
      queries: {
        'projector: {{operation}}': rate('projector_failures_total', 'operation'),
        'ingress: flush': rate('ingress_flush_errors_total', 'job'),
      },
    },
    {
      title: 'Rewinds and repairs',
      unit: 'short',
      queries: {
        rewinds: increase('projector_rewinds_total', 'job'),
        'state repairs': increase('projector_state_repairs_total', 'job'),
      },
    },
  ],
  Spool: [
    { title: 'Spooled records', unit: 'short', queries: { '{{instance}}': 'ingress_spool_records' } },
    {
      title: 'Bytes on disk',
      unit: 'bytes',
      queries: {
        '{{instance}}': 'ingress_spool_bytes',
        '{{instance}} not counted yet': 'ingress_spool_uncounted_bytes',
      },
    },
    { title: 'Age of the oldest record', unit: 's', queries: { '{{instance}}': 'ingress_spool_oldest_seconds' } },
    {
      title: 'Damage and errors of the disk',
      unit: 'short',
      queries: {
        'damage: {{what}}': increase('ingress_spool_damage_total', 'what'),
        errors: increase('ingress_spool_errors_total', 'job'),
        'failed drains': increase('ingress_spool_drain_failures_total', 'job'),
      },
    },
  ],
  Reader: [
    {
      title: 'Answers of the reader',
      unit: 'reqps',
      queries: { '{{answer}}': rate('reader_answers_total', 'answer') },
    },
    {
      title: 'Request to the answer of the reader, p99',
      unit: 's',
      queries: { '{{class}}': percentile(0.99, 'reader_request_seconds', 'class, le') },
    },
    {
      title: 'Requests by API key',
      unit: 'reqps',
      queries: { '{{key}}': rate('reader_requests_total', 'key') },
    },
    {
      title: 'Refused API keys, and reveals',
      unit: 'short',
      queries: {
        '401: {{check}}': increase('reader_unauthenticated_total', 'check'),
        'revealed customers': increase('reader_reveals_total', 'job'),
      },
    },
    {
      title: 'Connections and waiting requests',
      unit: 'short',
      queries: {
        '{{instance}} open': 'reader_connections',
        '{{instance}} waiting': 'reader_waiting_requests',
        '{{instance}} dropped': increase('reader_connections_dropped_total', 'instance'),
      },
    },
    {
      title: 'Streams of changes, open and ended',
      unit: 'short',
      queries: {
        '{{instance}} open': 'reader_streams',
        'ended: {{reason}}': increase('reader_streams_ended_total', 'reason'),
      },
    },
    {
      title: 'Events to streams of changes',
      unit: 'cps',
      queries: { '{{event}}': rate('reader_stream_events_total', 'event') },
    },
    {
      title: 'Kafka answers the reader (1), or not (0)',
      unit: 'short',
      steps: true,
      queries: { '{{instance}}': 'reader_kafka_available' },
    },
    {
      title: 'Silent dealers, and differences from the documentation',
      unit: 'short',
      steps: true,
      queries: {
        'silent dealers': 'max(projector_silent_dealers)',
        differences: 'max(projector_drift_differences)',
      },
    },
  ],
  Processes: [
    {
      title: 'Memory',
      unit: 'bytes',
      queries: {
        '{{instance}} resident': 'process_resident_memory_bytes{job=~"customer-stream.*"}',
        '{{instance}} heap': 'nodejs_heap_size_used_bytes{job=~"customer-stream.*"}',
      },
    },
    {
      title: 'Connections',
      unit: 'short',
      queries: {
        '{{instance}} open': 'ingress_connections',
        '{{instance}} dropped': increase('ingress_connections_dropped_total', 'instance'),
      },
    },
    {
      title: 'CPU cores',
      unit: 'short',
      queries: { '{{instance}}': 'rate(process_cpu_seconds_total{job=~"customer-stream.*"}[$__rate_interval])' },
    },
    {
      title: 'Delay of the event loop, p99',
      unit: 's',
      queries: { '{{instance}}': 'nodejs_eventloop_lag_p99_seconds{job=~"customer-stream.*"}' },
    },
    {
      title: 'Versions and starts',
      unit: 'short',
      steps: true,
      queries: {
        '{{service}}: processes of version {{version}}': 'count by (service, version) (customer_stream_build_info)',
        '{{instance}} starts': 'changes(process_start_time_seconds{job=~"customer-stream.*"}[$__rate_interval]) > 0',
      },
    },
    {
      title: 'Spans of traces, by outcome',
      unit: 'cps',
      queries: { '{{service}} {{outcome}}': rate('customer_stream_trace_spans_total', 'service, outcome') },
    },
  ],
}

const HEIGHT = 8
const GRID_WIDTH = 24
const PANELS_IN_A_LINE = 3
const WIDTH = GRID_WIDTH / PANELS_IN_A_LINE
const datasource = { type: 'prometheus', uid: `\${datasource}` }

const panel = ({ title, unit, queries, steps }: Panel) => ({
  type: 'timeseries',
  title,
  datasource,
  fieldConfig: {
    defaults: { unit, min: 0, custom: { lineInterpolation: steps ? 'stepAfter' : 'linear', fillOpacity: 10 } },
    overrides: [],
  },
  options: {
    legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
    tooltip: { mode: 'multi', sort: 'desc' },
  },
  targets: Object.entries(queries).map(([legendFormat, expr], i) => ({
    refId: String.fromCharCode('A'.charCodeAt(0) + i),
    datasource,
    expr,
    legendFormat,
  })),
})

/** Returns the panels with their positions: below each title of a row, three panels in a line. */
const panels = () => {
  let id = 0
  let y = 0
  return Object.entries(dashboardRows).flatMap(([title, ofRow]) => {
    const titleY = y
    y += 1 + HEIGHT * Math.ceil(ofRow.length / PANELS_IN_A_LINE)
    return [
      { id: ++id, type: 'row', title, collapsed: false, panels: [], gridPos: { x: 0, y: titleY, w: GRID_WIDTH, h: 1 } },
      ...ofRow.map((one, i) => {
        const [line, column] = [Math.floor(i / PANELS_IN_A_LINE), i % PANELS_IN_A_LINE]
        const gridPos = { x: column * WIDTH, y: titleY + 1 + line * HEIGHT, w: WIDTH, h: HEIGHT }
        return { id: ++id, ...panel(one), gridPos }
      }),
    ]
  })
}

const dashboard = () => ({
  uid: 'customer-stream',
  title: 'customer-stream',
  tags: ['customer-stream'],
  timezone: 'browser',
  schemaVersion: 39,
  editable: true,
  refresh: '30s',
  time: { from: 'now-3h', to: 'now' },
  templating: { list: [{ name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus' }] },
  annotations: { list: [] },
  panels: panels(),
})

/** All panels of the dashboard, by title. */
export const dashboardPanels: readonly Pick<Panel, 'title' | 'queries'>[] = Object.values(dashboardRows).flat()
export const dashboardFile = new URL('../deploy/grafana/customer-stream.json', import.meta.url)
export const dashboardText = (): string => `${JSON.stringify(dashboard(), null, 2)}\n`

if (import.meta.main) writeFileSync(dashboardFile, dashboardText())
