/** Clients of Kafka. An outage of Kafka fails only the requests that need Kafka. */
import type { ReaderSettings } from '@customer-stream/configuration'
import { answerOf, type Logger, type Obstacles } from '@customer-stream/runtime'
import {
  createAdmin,
  createDiagnose,
  createKafka,
  type KafkaClient,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import type { ReaderMetrics } from './metrics.ts'

/**
 * Error: Kafka does not answer, or refuses. The cause is the error of the client. The message is
 * for operators only, because it names addresses and rights.
 */
export class KafkaUnavailableError extends Error {
  override readonly name = 'KafkaUnavailableError'
}

export interface ReaderKafka {
  /** Opens a client, which the caller must disconnect. */
  open(): KafkaClient
  /**
   * Opens an admin client, which `disconnect` ends. Each topic needs its own client. If a kafkajs
   * client cannot get the metadata of one topic, it fails for all its topics.
   * @param options.mayBeMissing the client logs nothing, because kafkajs warns about each request
   *   for a missing topic. The caller reports errors. Default: false.
   */
  openAdmin(options?: { readonly mayBeMissing?: boolean }): TopicAdmin
  /**
   * Asks Kafka, and reports a failure to the log.
   * @param doing completes "The service cannot …".
   * @throws KafkaUnavailableError if Kafka refuses, or does not answer in time.
   */
  ask<T>(doing: string, question: () => Promise<T>): Promise<T>
  /** Reports why the changes cannot be read. Undefined if they can be read. */
  report(error: Error | undefined): void
  /** Message about the last report. Undefined if Kafka answers. */
  readonly problem: string | undefined
  disconnect(): Promise<unknown>
}

const CLIENT_ID = 'customer-stream-reader'
const ANSWER_MS = 4000
const NO_ANSWER_YET = 'Kafka has not answered yet. If this lasts, check KAFKA_BROKERS.'

export const createReaderKafka = ({
  settings,
  metrics,
  obstacles,
  logger,
}: {
  readonly settings: ReaderSettings
  readonly metrics: Pick<ReaderMetrics, 'kafkaAvailable'>
  readonly obstacles: Pick<Obstacles, 'report'>
  readonly logger: Logger
}): ReaderKafka => {
  const diagnose = createDiagnose(settings)
  const admins: TopicAdmin[] = []
  const open = () => createKafka(settings, { clientId: CLIENT_ID, logger })
  const openSilent = () => createKafka(settings, { clientId: CLIENT_ID, logger: logger.child({}, { level: 'silent' }) })
  let problem = settings.KAFKA_STATE_TOPIC ? NO_ANSWER_YET : undefined
  return {
    open,
    openAdmin: ({ mayBeMissing = false } = {}) => {
      const admin = createAdmin(mayBeMissing ? openSilent() : open())
      admins.push(admin)
      return admin
    },
    ask: async (doing, question) => {
      try {
        const asked = question()
        await answerOf(() => asked, ANSWER_MS)
        obstacles.report(doing, undefined)
        return await asked
      } catch (cause) {
        const diagnosis = diagnose(cause as Error, doing)
        obstacles.report(doing, diagnosis)
        throw new KafkaUnavailableError(diagnosis.message, { cause })
      }
    },
    report: (error) => {
      const diagnosis = error && diagnose(error, 'read the changes')
      problem = diagnosis?.message
      metrics.kafkaAvailable.set(diagnosis ? 0 : 1)
      obstacles.report('kafka', diagnosis)
    },
    get problem() {
      return problem
    },
    disconnect: () => Promise.allSettled(admins.map((admin) => admin.disconnect())),
  }
}
