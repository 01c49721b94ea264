import { answerOf } from '../process/admin.ts'
import type { Diagnosis } from '../process/blocked.ts'
import type { Diagnose } from './diagnosis.ts'
import { clusterOf, type TopicAdmin } from './topic-admin.ts'

export interface KafkaCheckOptions {
  /** A connected client of createAdmin. */
  readonly admin: TopicAdmin
  readonly topic: string
  readonly timeoutMs: number
  readonly diagnose: Diagnose
  /** Text that completes "The service cannot …" in the message about an outage. */
  readonly doing: string
}

/**
 * Returns a function that asks all brokers in parallel for the metadata of a topic, and resolves
 * with the first answer. kafkajs' admin client asks only one random broker. If this broker is
 * silent, the answers of the other brokers are missing.
 */
const createProbe = (admin: TopicAdmin, topic: string): (() => Promise<void>) => {
  /** Requests in flight, by node id. A broker gets only one request at a time. */
  const underWay = new Map<string, Promise<unknown>>()
  let refreshing = false
  /** Refreshes the brokers' addresses. */
  const refresh = async () => {
    if (refreshing) return
    refreshing = true
    await clusterOf(admin)
      .brokerPool.refreshMetadata([topic])
      .catch(() => undefined)
    refreshing = false
  }
  const ask = async (nodeId: string) => {
    try {
      const broker = await clusterOf(admin).brokerPool.findBroker({ nodeId })
      await broker.metadata([topic])
    } finally {
      underWay.delete(nodeId)
    }
  }
  return async () => {
    const answers = Object.keys(clusterOf(admin).brokerPool.brokers).map((nodeId) => {
      const answer = underWay.get(nodeId) ?? ask(nodeId)
      underWay.set(nodeId, answer)
      return answer
    })
    try {
      await Promise.any(answers)
    } catch (error) {
      void refresh()
      throw error
    }
  }
}

/**
 * Creates the check of Kafka. The check resolves with undefined if a broker answers in time,
 * otherwise with the reason. It never rejects.
 */
export const createKafkaCheck = ({
  admin,
  topic,
  timeoutMs,
  diagnose,
  doing,
}: KafkaCheckOptions): (() => Promise<Diagnosis | undefined>) => {
  const probe = createProbe(admin, topic)
  return () =>
    answerOf(probe, timeoutMs).then(
      () => undefined,
      (error: unknown) => {
        const diagnosis = diagnose(error, doing)
        // A problem that a person must fix, such as a missing right, concerns the topic of the
        // metadata request.
        return diagnosis.blocked ? diagnose(error, `describe topic ${topic}`) : diagnosis
      },
    )
}
