import { randomInt } from 'node:crypto'
import { type KafkaCluster, startCluster } from '@customer-stream/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type FaultResult, faultTable, runFault } from './fault.ts'
import { checkOutRelease, earlierReleases, isInClone } from './harness/earlier-release.ts'
import { upgradeFaults } from './upgrade-faults.ts'

const seed = Number(process.env.FAULT_SEED ?? randomInt(2 ** 31))

let cluster: KafkaCluster
const results: FaultResult[] = []
beforeAll(async () => {
  cluster = await startCluster()
})
afterAll(async () => {
  await cluster?.stop()
  process.stderr.write(`\nupgrades on three brokers, two of each service, seed ${seed}\n${faultTable(results)}\n\n`)
})

for (const release of await earlierReleases()) {
  if (!(await isInClone(release))) {
    it.skip(`the commit of release ${release.name} is not in this clone: git fetch --unshallow`, () => {})
    continue
  }
  const root = await checkOutRelease(release)
  describe('no customer goes back to an older event', () => {
    it.each(upgradeFaults(release, root).map((fault) => [fault.name, fault.how, fault] as const))(
      'no acknowledged event is lost after the %s: %s',
      async (_, __, fault) => {
        const result = await runFault(cluster, fault, { seed, scale: 1 })
        results.push(result)
        expect(result).toMatchObject({ missing: 0, wrong: 0, imbalances: [] })
      },
      480_000,
    )
  })
}
