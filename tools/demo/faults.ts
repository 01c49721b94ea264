import { setTimeout as sleep } from 'node:timers/promises'
import { barText, number } from '@customer-stream/cli/layout'
import type { Screen } from '@customer-stream/cli/screen'
import { unlessAborted, waitUntil } from '@customer-stream/runtime'
import type { Brokers, Pipeline } from '@customer-stream/testing'
import type { Load } from './load.ts'
import { customersOf, lagOf } from './measure.ts'
import { createMeter } from './meter.ts'
import type { Services } from './services.ts'
import { failedRequests } from './sums.ts'

const PAUSE_MS = 1000
const REDIS_AWAY_MS = 1500
const CAUGHT_UP_RECORDS = 200
/** Share of the events that must get 202 after a fault, before the fault counts as healed. */
const PROMISED_AGAIN = 0.01

export interface FaultContext {
  readonly killable: NonNullable<Brokers['killable']>
  readonly pipeline: Pipeline
  readonly services: Services
  readonly load: Load
  readonly screen: Screen
  readonly signal: AbortSignal
}

/** Waits until a condition is true, or until Ctrl-C. */
const until = <T>({ signal }: Pick<FaultContext, 'signal'>, ...wait: Parameters<typeof waitUntil<T>>): Promise<T> =>
  unlessAborted(waitUntil<T>(...wait), signal)

const begin = ({ screen }: Pick<FaultContext, 'screen'>, label: string, text: string) => {
  const startedAt = performance.now()
  screen.step({ mark: '✂', label, text })
  return (healed: string) => screen.step({ mark: '✔', label, text: healed, ms: performance.now() - startedAt })
}

/** Returns the id of the leader for each partition of the customers topic. */
const leadersOf = async ({ admin, topics }: Pipeline): Promise<number[]> => {
  const found = await admin.describeTopics([topics.customers])
  return (found.get(topics.customers) ?? []).map(({ leader }) => leader)
}

const untilPromisedAgain = async (context: Pick<FaultContext, 'load' | 'signal'>): Promise<void> => {
  const { load } = context
  const wanted = load.progress.promised + Math.ceil(load.events * PROMISED_AGAIN)
  await until(
    context,
    'events are promised again',
    () => load.progress.promised,
    (count) => count >= wanted || load.over(),
  )
}

const untilCaughtUp = (context: FaultContext): Promise<number> =>
  until(
    context,
    'the projector has caught up',
    () => lagOf(context.pipeline),
    (records) => records < CAUGHT_UP_RECORDS,
    { timeoutMs: 60_000, pauseMs: 100 },
  )

/**
 * Kills the broker that leads the most partitions. Restarts this broker when other brokers lead its
 * partitions.
 */
const killLeader = async (context: FaultContext): Promise<void> => {
  const { killable, pipeline, load, screen, signal } = context
  const before = await unlessAborted(leadersOf(pipeline), signal)
  const ledBy = (id: number) => before.filter((leader) => leader === id).length
  const broker = killable.brokers.toSorted((a, b) => ledBy(b.id) - ledBy(a.id))[0]!
  const heal = begin(
    context,
    'leader',
    `kill -9 of Kafka broker ${broker.id}, leader of ${ledBy(broker.id)} of ${before.length} partitions`,
  )
  await unlessAborted(broker.kill(), signal)
  await until(
    context,
    'each partition has another leader',
    () => leadersOf(pipeline).catch(() => []),
    (leaders) => leaders.length === before.length && leaders.every((leader) => leader >= 0 && leader !== broker.id),
  )
  await untilPromisedAgain(context)
  heal(
    load.over()
      ? 'each partition has another leader; all events were sent before'
      : 'each partition has another leader, and events get 202 again',
  )
  const startedAt = performance.now()
  await unlessAborted(broker.restart(), signal)
  // This may take one session timeout if the killed broker was the coordinator of the projector's
  // group. The new coordinator then waits until the projector joins again.
  await untilCaughtUp(context)
  screen.step({
    mark: '✔',
    label: '',
    text: `broker ${broker.id} is back, and Redis is up to date`,
    ms: performance.now() - startedAt,
  })
}

/** Kills the ingress, and starts a new ingress at the same address. */
const killIngress = async (context: Omit<FaultContext, 'killable'>): Promise<void> => {
  const { services, load, signal } = context
  const failedBefore = failedRequests(load.progress)
  const killed = services.ingress()
  const heal = begin(context, 'ingress', `kill -9 of process ${killed.pid}: the sender gets no answer`)
  killed.signal('SIGKILL')
  await unlessAborted(killed.ended, signal)
  await services.startIngressAgain()
  await untilPromisedAgain(context)
  const failed = failedRequests(load.progress) - failedBefore
  heal(`process ${services.ingress().pid} answers; ${number(failed)} requests failed and are sent again`)
}

/** Waits until these customers are in Redis, and shows the number of customers in Redis. */
const untilAllAreBack = async (context: FaultContext, customers: ReadonlySet<string>): Promise<void> => {
  const { pipeline, screen } = context
  const meter = createMeter(customers.size)
  let back = 0
  const hide = screen.show({
    text: (columns) => {
      const sample = meter.sample(performance.now(), back)
      return barText({ label: 'Redis', done: back, total: customers.size, ...sample, tail: 'customers' }, columns)
    },
  })
  try {
    await until(
      context,
      'all customers are back',
      async () => {
        back = (await customersOf(pipeline).catch(() => new Set<string>())).intersection(customers).size
        return back
      },
      (count) => count === customers.size,
      { timeoutMs: 60_000, pauseMs: 100 },
    )
  } finally {
    hide()
  }
}

/** Kills Redis and removes its data. Waits until the projector has written every customer again. */
const emptyRedis = async (context: FaultContext): Promise<void> => {
  const { killable, pipeline, signal } = context
  const before = await unlessAborted(customersOf(pipeline), signal)
  const heal = begin(context, 'Redis', `kill -9, and its data folder with ${number(before.size)} customers is removed`)
  await unlessAborted(killable.redis.kill(), signal)
  await unlessAborted(killable.redis.loseData(), signal)
  await unlessAborted(sleep(REDIS_AWAY_MS), signal)
  await unlessAborted(killable.redis.restart(), signal)
  await untilAllAreBack(context, before)
  await untilCaughtUp(context)
  heal(`all ${number(before.size)} customers are back, from the state topic`)
}

const pause = (signal: AbortSignal) => unlessAborted(sleep(PAUSE_MS), signal)

/**
 * Injects all faults, one after another, while events are sent. Kills the leader last: if that
 * broker was also the coordinator of the projector's group, the projector waits for one session
 * timeout.
 */
export const injectFaults = async (context: FaultContext): Promise<void> => {
  const { signal } = context
  await pause(signal)
  await killIngress(context)
  await pause(signal)
  await emptyRedis(context)
  await pause(signal)
  await killLeader(context)
}

/** Injects the faults that need no control over Kafka and Redis. */
export const injectFaultsOfServices = async (context: Omit<FaultContext, 'killable'>): Promise<void> => {
  await pause(context.signal)
  await killIngress(context)
}
