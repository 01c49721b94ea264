/**
 * Readiness of the ingress: it is ready if it can acknowledge events. A failed check says what to
 * do.
 */
import { type Diagnosis, type Obstacles, type ReadinessCheck, readinessCheck } from '@customer-stream/runtime'
import type { Diagnose } from '@customer-stream/runtime/kafka'
import type { TopicPublishers } from './delivery/topic-publishers.ts'
import type { KafkaConnection } from './kafka-connection.ts'
import type { ReopeningSpool } from './spool/reopening-spool.ts'

export interface ReadinessDependencies {
  readonly connection: Pick<KafkaConnection, 'topicsChecked' | 'warnings' | 'outage'>
  /** Returns a sentence about a quota that delays this process. Undefined if there is none. */
  readonly quotaDelay: () => string | undefined
  readonly publishers: Pick<TopicPublishers, 'outage' | 'stuck'>
  readonly spool: Pick<ReopeningSpool, 'hasRoomFor' | 'size' | 'problem'> | undefined
  readonly obstacles: Obstacles
  readonly diagnose: Diagnose
  readonly maxBodyBytes: number
  /** Aborts when the process stops. */
  readonly stopping: AbortSignal
  /** Called if a send is stuck although Kafka answers. The process must then end. */
  readonly onStuck: (error: Error) => void
}

export interface Readiness {
  checks(): Promise<ReadinessCheck[]>
  /** Reports outages and stuck sends, even if no one requests /readyz. */
  watch(): Promise<void>
}

const NO_ROOM =
  'The spool accepts no event: its disk refuses writes, or SPOOL_MAX_BYTES is reached. Events that Kafka does not ' +
  'store get 503. Free or repair the disk, and read the log line spool-failed.'

export const createReadiness = (deps: ReadinessDependencies): Readiness => {
  const { connection, quotaDelay, publishers, spool, obstacles, diagnose, maxBodyBytes, stopping, onStuck } = deps

  const outageOfTopic = (): Diagnosis | undefined => {
    const outage = publishers.outage()
    if (!outage) return undefined
    const { topic, error } = outage
    const diagnosis = diagnose(error, `write to topic ${topic}`)
    if (diagnosis.blocked) return diagnosis
    const message =
      `${diagnosis.message} Kafka stores no record of topic ${topic} (${error.message}): check that its partitions ` +
      'have leaders and enough in-sync replicas.'
    return { ...diagnosis, message }
  }
  /**
   * Returns a sentence about a stuck send. Also names a quota, because a long delay by a quota
   * looks like a stuck send.
   */
  const stuckSend = (although = ''): string | undefined => {
    const [stuck, quota] = [publishers.stuck(), quotaDelay()]
    if (stuck === undefined) return undefined
    return [`${stuck}${although}.`, ...(quota === undefined ? [] : [quota])].join(' ')
  }
  const kafkaProblem = async (): Promise<string | undefined> => {
    if (stopping.aborted) return 'stopping'
    // Ignore a broken spool, because the process can acknowledge events while Kafka answers.
    const others = obstacles.without('spool')
    const obstacle = connection.topicsChecked ? others.blocked : others.worst
    if (!connection.topicsChecked || obstacle)
      return obstacle?.message ?? 'not connected yet. If this lasts, check KAFKA_BROKERS.'
    return stuckSend() ?? ((await connection.outage()) ?? outageOfTopic())?.message
  }

  return {
    checks: async () => {
      const problem = await kafkaProblem()
      const warning = quotaDelay() ?? connection.warnings[0]
      const kafka = { ...readinessCheck('kafka', problem ?? warning), ready: problem === undefined }
      if (!spool || stopping.aborted) return [kafka]
      // A process with room in its spool can acknowledge events without Kafka, so it stays ready.
      // Otherwise a load balancer would send it no requests, and events would be lost.
      const hasRoom = spool.hasRoomFor(maxBodyBytes)
      const ready = kafka.ready || hasRoom
      const { records } = spool.size
      const waiting = records > 0 ? [`${records} records wait`] : []
      const details = spool.problem ? [spool.problem.message] : hasRoom ? waiting : [NO_ROOM, ...waiting]
      return [
        { ...kafka, ready },
        { name: 'spool', ready, ...(details.length > 0 && { detail: details.join(' ') }) },
      ]
    },
    watch: async () => {
      obstacles.report('write', outageOfTopic())
      if (!connection.topicsChecked) return
      const outage = await connection.outage()
      obstacles.report('kafka', outage)
      const stuck = stuckSend(', although Kafka answers')
      if (stuck === undefined || outage !== undefined) return
      onStuck(
        new Error(`${stuck} The process ends, so that its supervisor starts it again. No acknowledged event is lost.`),
      )
    },
  }
}
