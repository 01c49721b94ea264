import { randomInt } from 'node:crypto'
import { type KafkaCluster, startCluster } from '@customer-stream/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type FailedRow, type Fault, type FaultResult, faultTable, runFault } from './fault.ts'

// `npm run test:faults` sets FAULTS=full, or FAULTS=short for the same scenarios with shorter
// faults. FAULT_SEED repeats the events of a run.
const scale = process.env.FAULTS === 'full' ? 1 : 0.1
const seed = Number(process.env.FAULT_SEED ?? randomInt(2 ** 31))

/**
 * Defines a test for each scenario, on three brokers of this file. Prints the results as a table.
 */
export const testFaults = (faults: readonly Fault[]): void => {
  let cluster: KafkaCluster
  const results: (FaultResult | FailedRow)[] = []
  beforeAll(async () => {
    cluster = await startCluster()
  })
  afterAll(async () => {
    await cluster?.stop()
    process.stderr.write(`\nfaults on three brokers, two of each service, seed ${seed}\n${faultTable(results)}\n\n`)
  })

  describe('every customer ends at its newest event', () => {
    it.each(faults.map((fault) => [fault.name, fault.how, fault] as const))(
      'no acknowledged event is lost after the fault %s: %s',
      async (_, __, fault) => {
        const result = await runFault(cluster, fault, { seed, scale }).catch((error: unknown) => {
          results.push({ fault: fault.name, failed: true })
          throw error
        })
        results.push(result)
        expect(result).toMatchObject({ missing: 0, wrong: 0, imbalances: [] })
      },
      240_000,
    )
  })
}
