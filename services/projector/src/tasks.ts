/**
 * Repeats the tasks of a projector until the projector stops. A failed run is only logged, because
 * the next run repeats the task.
 */
import { type Diagnosis, type Logger, type Obstacles, periodically } from '@customer-stream/runtime'
import type { TopicWatch } from '@customer-stream/runtime/kafka'
import type { ProjectorMetrics } from './metrics.ts'
import type { Projection } from './projection.ts'
import type { RedisCheck } from './redis-check.ts'
import { reportOf } from './report.ts'
import type { SenderWatch } from './sender-watch.ts'
import type { Startup } from './startup.ts'
import type { Store } from './store.ts'

const COMMIT_INTERVAL_MS = 1000
const LAG_INTERVAL_MS = 5000
const ANNOUNCE_INTERVAL_MS = 5000
const REPORT_INTERVAL_MS = 5000
const REDIS_CHECK_INTERVAL_MS = 10_000
const SENDER_INTERVAL_MS = 10_000
const SILENCE_INTERVAL_MS = 300_000
const OUTAGE_INTERVAL_MS = 2000

export interface TasksDependencies {
  readonly startup: Pick<Startup, 'phase' | 'topicsChecked'>
  readonly projection: { readonly positions: Pick<Projection['positions'], 'commit'> } & Pick<
    Projection,
    'checkPositions' | 'executeErasures'
  >
  readonly store: Pick<Store, 'announce' | 'saveReport'>
  readonly metrics: Pick<ProjectorMetrics, 'events' | 'freshnessSeconds' | 'lostRecords'>
  readonly senderWatch: Pick<SenderWatch, 'save' | 'countSilent'>
  /** Ends a process that applies nothing although Kafka and Redis answer. */
  readonly watchdog: () => Promise<void>
  readonly topicWatch: Pick<TopicWatch, 'check'>
  readonly redisCheck: Pick<RedisCheck, 'watch'>
  /** Resolves with the reason why Kafka does not answer, or with undefined if Kafka answers. */
  readonly kafkaOutage: () => Promise<Diagnosis | undefined>
  /** Measures the progress. Rejects if Kafka or Redis does not answer. */
  readonly measure: () => Promise<void>
  readonly obstacles: Pick<Obstacles, 'report'>
  readonly logger: Pick<Logger, 'debug'>
}

export interface TasksOptions {
  /** Id of this process in the consumer group. */
  readonly instance: string
  readonly positionCheckMs: number
  readonly topicCheckMs: number
  readonly sessionTimeoutMs: number
}

/**
 * @returns a function that ends the repetition. This function does not wait for a running task.
 */
export const startTasks = (deps: TasksDependencies, options: TasksOptions): (() => void) => {
  const { startup, projection, logger } = deps
  const stops: (() => void)[] = []
  const repeat = (intervalMs: number, task: () => Promise<unknown>, onFailure: string) =>
    stops.push(periodically(intervalMs, task, (error) => logger.debug({ err: error }, onFailure)))
  /** Repeats a task as long as the consumer runs. */
  const every = (intervalMs: number, task: () => Promise<unknown>) =>
    repeat(intervalMs, async () => startup.phase === 'running' && task(), 'a periodic check failed')

  every(COMMIT_INTERVAL_MS, projection.positions.commit)
  every(ANNOUNCE_INTERVAL_MS, () => deps.store.announce(options.instance))
  every(REPORT_INTERVAL_MS, async () => deps.store.saveReport(options.instance, await reportOf(deps.metrics)))
  every(options.positionCheckMs, projection.checkPositions)
  every(options.positionCheckMs, projection.executeErasures)
  every(options.sessionTimeoutMs, deps.watchdog)
  every(options.topicCheckMs, deps.topicWatch.check)
  every(REDIS_CHECK_INTERVAL_MS, deps.redisCheck.watch)
  every(SENDER_INTERVAL_MS, deps.senderWatch.save)
  every(SILENCE_INTERVAL_MS, deps.senderWatch.countSilent)
  // Detects outages of Kafka even if no one calls /readyz.
  every(OUTAGE_INTERVAL_MS, async () => deps.obstacles.report('kafka', await deps.kafkaOutage()))
  // Measure the lag even while the process is in no group, because then the lag grows most.
  repeat(LAG_INTERVAL_MS, async () => startup.topicsChecked && deps.measure(), 'the lag cannot be measured')
  return () => {
    for (const stop of stops) stop()
  }
}
