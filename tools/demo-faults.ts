import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '@customer-stream/runtime'
import type { Brokers, Pipeline, ServiceProcess } from '@customer-stream/testing'

const REDIS_AWAY_MS = 3000
const CAUGHT_UP_RECORDS = 200

export interface DemoLoad {
  promised(): number
  /** Returns true if the sender has ended. No more events are promised then. */
  over(): boolean
}

export interface FaultContext {
  readonly killable: NonNullable<Brokers['killable']>
  readonly pipeline: Pipeline
  readonly projector: ServiceProcess
  /**
   * Returns the number of records that are not in Redis yet. Infinity if Kafka or Redis does not
   * answer.
   */
  readonly lag: () => Promise<number>
  readonly load: DemoLoad
  readonly say: (line: string) => void
}

const secondsSince = (startedAt: number): string => `${((performance.now() - startedAt) / 1000).toFixed(1)} s`

/** Returns the id of the leader for each partition of the customers topic. */
const leadersOf = async ({ admin, topics }: Pipeline): Promise<number[]> => {
  const found = await admin.describeTopics([topics.customers])
  return (found.get(topics.customers) ?? []).map(({ leader }) => leader)
}

const untilPromisedAgain = async (load: DemoLoad, more = 200): Promise<void> => {
  const wanted = load.promised() + more
  await waitUntil('events are promised again', load.promised, (count) => count >= wanted || load.over())
}

/**
 * Kills the broker that leads the most partitions. Starts it again when the others have taken over.
 */
export const killLeader = async ({ killable, pipeline, lag, load, say }: FaultContext): Promise<void> => {
  const before = await leadersOf(pipeline)
  const ledBy = (id: number) => before.filter((leader) => leader === id).length
  const broker = killable.brokers.toSorted((a, b) => ledBy(b.id) - ledBy(a.id))[0]!
  say(`✂ kill -9 of Kafka broker ${broker.id}, leader of ${ledBy(broker.id)} of ${before.length} partitions`)
  const killedAt = performance.now()
  await broker.kill()
  await waitUntil(
    'each partition has another leader',
    () => leadersOf(pipeline).catch(() => []),
    (leaders) => leaders.length === before.length && leaders.every((leader) => leader >= 0 && leader !== broker.id),
  )
  await untilPromisedAgain(load)
  say(`✔ healed after ${secondsSince(killedAt)}: each partition has another leader, and events are promised again`)
  await broker.restart()
  // If this broker was the coordinator of the projector's group, the projector continues after one
  // session timeout.
  await waitUntil('the projector has caught up', lag, (records) => records < CAUGHT_UP_RECORDS || load.over(), {
    timeoutMs: 60_000,
  })
  say(`✔ broker ${broker.id} is back, and the projector has caught up`)
}

/** Kills Redis, and starts it again after some seconds. Events are still promised in this time. */
export const killRedis = async ({ killable, projector, load, say }: FaultContext): Promise<void> => {
  const promisedBefore = load.promised()
  say('✂ kill -9 of Redis')
  await killable.redis.kill()
  await sleep(REDIS_AWAY_MS)
  const appliedBefore = await projector.metric('projector_events_total')
  await killable.redis.restart()
  const backAt = performance.now()
  const meanwhile = load.promised() - promisedBefore
  await waitUntil(
    'the projector applies events again',
    () => projector.metric('projector_events_total'),
    (count) => count > appliedBefore || load.over(),
  )
  say(
    `✔ healed ${secondsSince(backAt)} after Redis came back; meanwhile ${meanwhile.toLocaleString('en-US')} ` +
      'more events were promised',
  )
}
