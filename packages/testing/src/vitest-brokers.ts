import type { TestProject } from 'vitest/node'
import { type Brokers, startBrokers } from './brokers/index.ts'

declare module 'vitest' {
  interface ProvidedContext {
    brokers: { readonly kafkaBrokers: readonly string[]; readonly redisUrl: string }
  }
}

/** True if the user gave the addresses. Their description is not printed in this case. */
const isGiven = Boolean(process.env.KAFKA_BROKERS && !process.env.CUSTOMER_STREAM_BROKERS)

declare global {
  /** Vitest loads this file again for each project, so only a global variable can be shared. */
  var testBrokers: Promise<Brokers> | undefined
}

/**
 * Starts one Kafka and one Redis for the whole test run, for all projects. Tests do not affect each
 * other, because each test uses its own names.
 */
export default async (project: TestProject): Promise<() => Promise<void>> => {
  globalThis.testBrokers ??= startBrokers({ log: (line) => isGiven || process.stderr.write(`${line}\n`) })
  const brokers = await globalThis.testBrokers
  project.provide('brokers', { kafkaBrokers: brokers.kafkaBrokers, redisUrl: brokers.redisUrl })
  return () => brokers.stop()
}
