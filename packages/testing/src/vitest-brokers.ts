import type { TestProject } from 'vitest/node'
import { startBrokers } from './brokers/index.ts'

declare module 'vitest' {
  interface ProvidedContext {
    brokers: { readonly kafkaBrokers: readonly string[]; readonly redisUrl: string }
  }
}

/** Whoever gave them knows them. */
const isGiven = Boolean(process.env.KAFKA_BROKERS && !process.env.CUSTOMER_STREAM_BROKERS)

/** One Kafka and one Redis for the whole run; tests keep apart by names of their own. */
export default async (project: TestProject): Promise<() => Promise<void>> => {
  const brokers = await startBrokers({ log: (line) => isGiven || process.stderr.write(`${line}\n`) })
  project.provide('brokers', { kafkaBrokers: brokers.kafkaBrokers, redisUrl: brokers.redisUrl })
  return () => brokers.stop()
}
