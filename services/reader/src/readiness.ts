/**
 * Readiness of the reader: it is ready if Redis answers. A failed check says what to do. An outage
 * of Kafka is shown, but the reader stays ready, because most answers need only Redis.
 */
import { answerOf, type Diagnosis, type Obstacles, type ReadinessCheck, readinessCheck } from '@customer-stream/runtime'
import type { Customers } from './customers.ts'
import type { ReaderKafka } from './kafka.ts'

export interface ReadinessDependencies {
  readonly customers: Pick<Customers, 'check'>
  readonly kafka: Pick<ReaderKafka, 'problem'>
  /** Returns a sentence about a quota that delays this process. Undefined if there is none. */
  readonly quotaDelay: () => string | undefined
  readonly diagnose: (error: Error) => Diagnosis
  readonly obstacles: Pick<Obstacles, 'report'>
  readonly timeoutMs: number
  /** Aborts when the process stops. */
  readonly stopping: AbortSignal
}

export interface Readiness {
  checks(): Promise<ReadinessCheck[]>
  /** Reports an outage, even if no one requests /readyz. */
  watch(): Promise<void>
}

export const createReadiness = (deps: ReadinessDependencies): Readiness => {
  const { customers, kafka, quotaDelay, diagnose, obstacles, timeoutMs, stopping } = deps
  const problem = (): Promise<Diagnosis | undefined> =>
    answerOf(customers.check, timeoutMs).then(() => undefined, diagnose)
  return {
    checks: async () => [
      readinessCheck('redis', stopping.aborted ? 'stopping' : (await problem())?.message),
      { ...readinessCheck('kafka', kafka.problem ?? quotaDelay()), ready: true },
    ],
    watch: async () => obstacles.report('redis', await problem()),
  }
}
