import { afterAll, beforeAll, describe, it } from 'vitest'
import { groups } from './standstill/groups.ts'
import { kafkaAccess } from './standstill/kafka-access.ts'
import { records } from './standstill/records.ts'
import { redis } from './standstill/redis.ts'
import { resultTable, runScenario, ScenarioError, type ScenarioResult } from './standstill/scenario.ts'
import { openWorld, type World } from './standstill/site.ts'
import { topics } from './standstill/topics.ts'

const results: (ScenarioResult & { readonly failed?: boolean })[] = []
let world: World
beforeAll(async () => {
  world = await openWorld()
})
afterAll(async () => {
  await world?.close()
  process.stderr.write(`\nthe sweep: ways in which nothing is applied\n${resultTable(results)}\n\n`)
})

describe.concurrent('a pipeline that applies nothing never looks healthy', () => {
  it.each(
    [...records, ...groups, ...topics, ...redis, ...kafkaAccess].map((scenario) => [scenario.name, scenario] as const),
  )(
    '%s',
    async (name, scenario) => {
      try {
        results.push(await runScenario(world, scenario))
      } catch (error) {
        results.push({ name, ...(error instanceof ScenarioError && error.result), failed: true })
        throw error
      }
    },
    150_000,
  )
})
