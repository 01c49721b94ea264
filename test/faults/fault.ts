import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '@customer-stream/runtime'
import { readTopic } from '@customer-stream/runtime/kafka'
import { PROJECTION_VERSION } from '@customer-stream/schemas'
import { Random } from '@customer-stream/simulator'
import type { KafkaCluster } from '@customer-stream/testing'
import { type FaultHarness, type FaultHarnessOptions, openFaultHarness } from './harness/fault-harness.ts'
import type { ManagedService } from './harness/managed-services.ts'

/** One scenario of the fault suite: a fault in a pipeline under load. */
export interface Fault {
  readonly name: string
  readonly how: string
  readonly options?: Omit<FaultHarnessOptions, 'seed'>
  /** True if the projectors that run at the end publish no documents. */
  readonly ignoresStateTopic?: boolean
  /**
   * Injects the fault and ends it.
   * @param scale factor for durations: 1 in the full suite, less in the short form.
   * @param random chooses the targets, if the fault does not affect all brokers or services.
   * @throws an error if a property does not hold during the fault.
   */
  inject(harness: FaultHarness, scale: number, random: Random): Promise<void>
}

export interface FaultResult {
  readonly fault: string
  /** Distinct events of the senders, and their outcomes. */
  readonly made: number
  readonly promised: number
  readonly lost: number
  readonly stopped: number
  readonly refused: number
  readonly records: number
  readonly missing: number
  readonly wrong: number
  /** Messages about counts that do not agree. */
  readonly imbalances: readonly string[]
  /**
   * Time from the end of the fault until all services are ready, and the lag is smaller than the
   * number of events in a second.
   */
  readonly recoverySeconds: number
  readonly worstLag: number
}

/** A failed scenario: a property did not hold during the fault, or the services did not recover. */
export interface FailedRow {
  readonly fault: string
  readonly failed: true
}

export const isSoundResult = ({ missing, wrong, imbalances }: FaultResult): boolean =>
  missing + wrong + imbalances.length === 0

/** Kafka's number of the resource type "topic", in requests for settings. */
export const TOPIC = 2

/** Returns the settings of a topic that differ from Kafka's defaults. */
export const changedSettings = async ({ administrator }: FaultHarness['pipeline'], topic: string) => {
  const { resources } = await administrator.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: TOPIC, name: topic }],
  })
  return resources.flatMap((resource) =>
    resource.configEntries.flatMap(({ isDefault, configName: name, configValue: value }) =>
      isDefault ? [] : [{ name, value }],
    ),
  )
}

/** Waits for the duration of a fault. Use `waitUntil` to wait for an effect. */
export const lasting = (ms: number): Promise<void> => sleep(ms)

/**
 * Number of events that both senders make in a second, by default. If the lag is below this number,
 * the projectors keep up.
 */
const SECOND_OF_LOAD = 500

/**
 * Measures the lag again and again. If Redis does not answer, a sample uses the last known
 * positions. A sample can end the recovery only if the services are ready and Redis has answered.
 */
const watchLag = ({ positions, pipeline: { admin, topics } }: FaultHarness) => {
  let worst = 0
  let known: ReadonlyMap<number, number> = new Map()
  let isReady = false
  let recoveredAt: number | undefined
  const sample = async () => {
    const wasReady = isReady
    const asked = positions().catch(() => undefined)
    const ends = await admin.fetchTopicOffsets(topics.customers)
    const stored = await asked
    known = stored ?? known
    const lag = ends.reduce(
      (behind, { partition, high }) => behind + Math.max(0, Number(high) - (known.get(partition) ?? 0)),
      0,
    )
    worst = Math.max(worst, lag)
    if (wasReady && stored !== undefined && lag < SECOND_OF_LOAD) recoveredAt ??= performance.now()
  }
  // Ignore errors, because there is no sample while Kafka does not answer.
  const timer = setInterval(() => sample().catch(() => undefined), 250)
  return {
    servicesAreReady: () => {
      isReady = true
    },
    /** Time when the lag was small again. Undefined if the lag stayed large. */
    recoveredAt: () => recoveredAt,
    stop: () => {
      clearInterval(timer)
      return worst
    },
  }
}

export const sumOver = async (
  services: readonly ManagedService[],
  metric: string,
  labels?: Readonly<Record<string, string>>,
): Promise<number> =>
  (await Promise.all(services.map(({ process }) => process.metric(metric, labels)))).reduce((a, b) => a + b, 0)

/**
 * Counts outcomes and records. A projector counts an outcome after it has moved the position. So
 * the counters are read before the positions at the start, and after the positions at the end.
 * Outcomes may be missing only if a process has ended, because its counters are then lost.
 */
const beginOutcomes = async ({ projectors, lived, positions }: FaultHarness) => {
  const count = () => sumOver(projectors, 'projector_events_total')
  const [countedBefore, movedBefore] = lived('projector')
    ? [0, 0]
    : [await count(), [...(await positions()).values()].reduce((a, b) => a + b, 0)]
  return {
    end: async (end: ReadonlyMap<number, number>) => ({
      counted: (await count()) - countedBefore,
      records: [...end.values()].reduce((a, b) => a + b, 0) - movedBefore,
    }),
  }
}

const untilCaughtUp = ({ lag }: FaultHarness) =>
  waitUntil('the projectors have caught up', lag, (behind) => behind === 0, { timeoutMs: 60_000, pauseMs: 50 })

/**
 * Compares all counts. Since the verifier has read the topic, Kafka may have stored records of
 * requests that got no answer: a broker that was frozen handles a request late. So the positions
 * are compared with the ends of this moment.
 */
const addUp = async (harness: FaultHarness, outcomes: Awaited<ReturnType<typeof beginOutcomes>>): Promise<string[]> => {
  const { reconciliation, ingresses, lived } = harness
  await harness.readQuarantine()
  await untilCaughtUp(harness)
  const ends = await harness.ends()
  const positions = await harness.positions()
  return reconciliation.imbalances({
    senders: harness.totals(),
    sentEvents: harness.sentEvents(),
    answered: lived('ingress') ? await sumOver(ingresses, 'ingress_answers_total', { answer: 'accepted' }) : undefined,
    outcomes: await outcomes.end(positions),
    ends,
    positions,
  })
}

/** Runs a scenario: load, fault, end of the fault, recovery without a person, verdict. */
export const runFault = async (
  cluster: KafkaCluster,
  fault: Fault,
  { seed, scale }: { seed: number; scale: number },
): Promise<FaultResult> => {
  const harness = await openFaultHarness(cluster, { seed, ...fault.options })
  const lag = watchLag(harness)
  try {
    await harness.untilPromised(300)
    await fault.inject(harness, scale, new Random(seed))
    const endedAt = performance.now()
    await Promise.all([...harness.ingresses, ...harness.projectors].map(({ process }) => process.untilReady()))
    lag.servicesAreReady()
    const outcomes = await beginOutcomes(harness)
    await harness.untilPromised(200)
    await harness.stopLoad()
    // A record whose request got 503 may be stored later, so wait for it before the comparison.
    // Each failing partition retries one of these records, which the queue metric leaves out.
    const buffered = ['ingress_queue_records', 'ingress_partitions_failing', 'ingress_spool_bytes']
    await waitUntil(
      'the ingresses buffer nothing more',
      () => Promise.all(buffered.map((metric) => sumOver(harness.ingresses, metric))),
      (counts) => counts.every((count) => count === 0),
    )
    await untilCaughtUp(harness)
    const caughtUpAt = performance.now()
    const verdict = await harness.pipeline.verify(harness.ledgerPath, {
      observer: harness.reconciliation.observer,
      exact: true,
      projection: fault.options?.projection ?? PROJECTION_VERSION,
      // An earlier release has no indexes, and an upgrade begins without them.
      withIndexes: fault.options?.root === undefined,
      ...(fault.ignoresStateTopic && { stateTopic: undefined }),
    })
    const { made, promised, lost, stopped } = harness.totals()
    const result = {
      fault: fault.name,
      made,
      promised,
      lost,
      stopped,
      refused: harness.refused(),
      records: harness.reconciliation.figures.records,
      missing: verdict.missing.length,
      wrong: verdict.wrong.length,
      imbalances: await addUp(harness, outcomes),
      recoverySeconds: ((lag.recoveredAt() ?? caughtUpAt) - endedAt) / 1000,
      worstLag: lag.stop(),
    }
    if (!isSoundResult(result)) {
      const faulty = [...verdict.missing, ...verdict.wrong]
      await writeRecordsOf(harness, new Set(faulty.map(({ customerUuid }) => customerUuid)))
      process.stderr.write(
        `${fault.name}: the ledger, the logs and the records of these customers are in ${harness.pipeline.folder}. ` +
          `Wrong: ${JSON.stringify(faulty.slice(0, 5))}\n`,
      )
    }
    return result
  } finally {
    lag.stop()
    await harness.close()
  }
}

/** Writes the records of these customers to a file, in the order in which Kafka has them. */
const writeRecordsOf = async (
  { pipeline: { admin, topics, stateTopic, folder } }: FaultHarness,
  customers: ReadonlySet<string | null>,
) => {
  const lines: string[] = []
  for (const topic of [topics.customers, stateTopic])
    await readTopic(admin, topic, ({ key, value, offset, timestamp }, partition) => {
      if (customers.has(key && String(key)))
        lines.push(JSON.stringify({ topic, partition, offset, timestamp, value: value && String(value) }))
    })
  await writeFile(join(folder, 'records-of-wrong-customers.jsonl'), `${lines.join('\n')}\n`)
}

const columns: readonly [string, (result: FaultResult) => string | number][] = [
  ['fault', ({ fault }) => fault],
  ['events made', ({ made }) => made],
  ['promised', ({ promised }) => promised],
  ['lost', ({ lost }) => lost],
  ['stopped', ({ stopped }) => stopped],
  ['other than 2xx', ({ refused }) => refused],
  ['records', ({ records }) => records],
  ['missing', ({ missing }) => missing],
  ['wrong', ({ wrong }) => wrong],
  ['adds up', ({ imbalances }) => (imbalances.length === 0 ? 'yes' : 'NO')],
  ['recovery s', ({ recoverySeconds }) => recoverySeconds.toFixed(1)],
  ['worst lag', ({ worstLag }) => worstLag],
]

export const faultTable = (results: readonly (FaultResult | FailedRow)[]): string => {
  const cells = (result: FaultResult | FailedRow) =>
    'failed' in result ? [result.fault, 'FAILED'] : columns.map(([, cell]) => String(cell(result)))
  const rows = [columns.map(([title]) => title), ...results.map(cells)]
  const widths = columns.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  return rows
    .map((row) =>
      row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '),
    )
    .join('\n')
}
