/**
 * Readiness of the reader: it is ready if Redis answers. A failed check says what to do.
 */
import { answerOf, type Diagnosis, type Obstacles, type ReadinessCheck, readinessCheck } from '@customer-stream/runtime'
import type { Customers } from './customers.ts'

export interface ReadinessDependencies {
  readonly customers: Pick<Customers, 'check'>
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
  const { customers, diagnose, obstacles, timeoutMs, stopping } = deps
  const problem = (): Promise<Diagnosis | undefined> =>
    answerOf(customers.check, timeoutMs).then(() => undefined, diagnose)
  return {
    checks: async () => [readinessCheck('redis', stopping.aborted ? 'stopping' : (await problem())?.message)],
    watch: async () => obstacles.report('redis', await problem()),
  }
}
