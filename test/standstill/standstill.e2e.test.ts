import { afterAll, beforeAll, describe, it } from 'vitest'
import { certificates } from './certificates.ts'
import { groups } from './groups.ts'
import { kafkaAccess } from './kafka-access.ts'
import { records } from './records.ts'
import { redis } from './redis.ts'
import { resultTable, runScenario, ScenarioError, type ScenarioResult } from './scenario.ts'
import { openSharedBrokers, type SharedBrokers } from './shared-brokers.ts'
import { topics } from './topics.ts'

// `npm test` sets SWEEP=part, which runs only the scenarios of the consumer group, because they are
// the quickest. `npm run test:standstill` runs all scenarios.
const scenarios =
  process.env.SWEEP === 'part' ? groups : [...records, ...groups, ...topics, ...redis, ...kafkaAccess, ...certificates]

const results: (ScenarioResult & { readonly failed?: boolean })[] = []
let shared: SharedBrokers
beforeAll(async () => {
  shared = await openSharedBrokers()
})
afterAll(async () => {
  await shared?.close()
  process.stderr.write(`\nthe sweep: scenarios in which nothing is applied\n${resultTable(results)}\n\n`)
})

describe.concurrent('a pipeline that applies nothing never looks healthy', () => {
  it.each(scenarios.map((scenario) => [scenario.name, scenario] as const))(
    '%s',
    async (name, scenario) => {
      try {
        results.push(await runScenario(shared, scenario))
      } catch (error) {
        results.push({ name, ...(error instanceof ScenarioError && error.result), failed: true })
        throw error
      }
    },
    150_000,
  )
})
