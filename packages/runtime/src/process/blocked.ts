import type { Logger } from './log.ts'
import { Gauge, type Registry } from './metrics.ts'

/**
 * Reasons for which a person must act. Each reason is a series of `customer_stream_blocked` and a
 * row in docs/operating.md.
 */
const BLOCKED_REASONS = [
  'address',
  'authentication',
  'authorization',
  'group',
  'identity',
  'indexes',
  'record',
  'redis',
  'spool',
  'tls',
  'topic',
  'version',
] as const
export type BlockedReason = (typeof BLOCKED_REASONS)[number]

/** Kind of the program that meets an obstacle. */
export type Program = 'service' | 'command' | 'request'

/**
 * Description of one obstacle for an operator. `message` says what happened, what the service does
 * now, and what a person must do.
 */
export interface Diagnosis {
  /** False for an outage, which ends without the help of a person. */
  readonly blocked: boolean
  readonly reason: BlockedReason | 'outage'
  readonly message: string
}

/** Current obstacles of a process, by the task that they affect. */
export interface Obstacles {
  /** Replaces the obstacle of this task. `undefined` removes the obstacle. */
  report(task: string, diagnosis: Diagnosis | undefined): void
  /** An obstacle that a person must remove. Undefined if there is no such obstacle. */
  readonly blocked: Diagnosis | undefined
  /**
   * Like `blocked`. If no obstacle needs a person, this is an outage. Undefined if the process has
   * no obstacle.
   */
  readonly worst: Diagnosis | undefined
  /** Returns the obstacles of all tasks except this one. */
  without(task: string): Pick<Obstacles, 'blocked' | 'worst'>
}

const LOG_INTERVAL_MS = 60_000

/**
 * Keeps the obstacles of a process. Logs each obstacle that a person must remove, and the beginning
 * and the end of an outage. Outages of several tasks are logged as one outage. The gauge
 * `customer_stream_blocked` has the reasons for which a person must act.
 */
export const createObstacles = (registry: Registry, logger: Logger): Obstacles => {
  const byTask = new Map<string, Diagnosis>()
  const loggedAt = new Map<string, number>()
  const isBlocked = () => byTask.values().filter(({ blocked }) => blocked)
  let outageLoggedAt = Number.NEGATIVE_INFINITY
  let outageLogged = ''
  let outageLasts = false
  const logOutage = () => {
    const [task, outage] = byTask.entries().find(([, { blocked }]) => !blocked) ?? []
    if (!outage) {
      if (outageLasts && isBlocked().next().done)
        logger.info({ event: 'recovered' }, `the outage is over: ${outageLogged}`)
      outageLasts = false
      return
    }
    // Log an outage immediately only if its message is new. Otherwise a broker that often fails
    // briefly would fill the log.
    const isNew = !outageLasts && outage.message !== outageLogged
    if (!isNew && performance.now() - outageLoggedAt < LOG_INTERVAL_MS) return
    outageLoggedAt = performance.now()
    outageLogged = outage.message
    outageLasts = true
    logger.warn({ event: 'retrying', task }, outage.message)
  }
  new Gauge({
    name: 'customer_stream_blocked',
    help: '1 while a person must act before this process can continue, by reason. The log and /readyz say what to do.',
    labelNames: ['reason'],
    registers: [registry],
    collect() {
      const reasons = new Set<string>([...isBlocked()].map(({ reason }) => reason))
      for (const reason of BLOCKED_REASONS) this.set({ reason }, reasons.has(reason) ? 1 : 0)
    },
  })
  return {
    report: (task, diagnosis) => {
      const before = byTask.get(task)
      if (diagnosis) byTask.set(task, diagnosis)
      else byTask.delete(task)
      logOutage()
      if (before?.blocked && !diagnosis?.blocked)
        logger.info({ event: 'unblocked', task, reason: before.reason }, 'no longer blocked')
      if (!diagnosis?.blocked) return
      const now = performance.now()
      if (
        before?.message === diagnosis.message &&
        now - (loggedAt.get(task) ?? Number.NEGATIVE_INFINITY) < LOG_INTERVAL_MS
      )
        return
      loggedAt.set(task, now)
      logger.error({ event: 'blocked', task, reason: diagnosis.reason }, diagnosis.message)
    },
    get blocked() {
      return isBlocked().next().value
    },
    get worst() {
      return isBlocked().next().value ?? byTask.values().next().value
    },
    without: (task) => {
      const others = [...byTask].flatMap(([name, diagnosis]) => (name === task ? [] : [diagnosis]))
      const blocked = others.find((diagnosis) => diagnosis.blocked)
      return { blocked, worst: blocked ?? others[0] }
    },
  }
}
