/**
 * `npm run soak -- --minutes N [--seed S]` injects random faults under load, one after another. The
 * same seed repeats a run.
 */

import { listenForInterruption, readCommandLine } from '@customer-stream/runtime/command-line'
import { Random } from '@customer-stream/simulator'
import { type KafkaCluster, startCluster } from '@customer-stream/testing'
import { brokerFaults } from './broker-faults.ts'
import { type FailedRow, type FaultResult, faultTable, isSoundResult, runFault } from './fault.ts'
import { pressureFaults } from './pressure-faults.ts'
import { redisFaults } from './redis-faults.ts'
import { serviceFaults } from './service-faults.ts'

const printNotice = (line: string) => process.stderr.write(`${line}\n`)

const { minutes, seed } = readCommandLine({
  name: 'soak',
  usage: `npm run soak -- --minutes N [--seed S]

  Runs random rows of the fault suite, one after the other, until the time is over. Needs Java 17 and Maven.
  --minutes N   how long
  --seed S      repeats the run that printed it`,
  options: { minutes: 'text', seed: 'text' },
  read: ({ texts }) => {
    const asked = {
      minutes: Number(texts.minutes),
      seed: Number(texts.seed ?? Math.floor(Math.random() * 2 ** 31)),
    }
    if (!(asked.minutes > 0)) throw new Error('--minutes must be a number above 0')
    if (!Number.isSafeInteger(asked.seed) || asked.seed < 0) throw new Error('--seed must be a whole number')
    return asked
  },
})
const random = new Random(seed)
const faults = [...serviceFaults, ...pressureFaults, ...brokerFaults, ...redisFaults]
const results: (FaultResult | FailedRow)[] = []
printNotice(`soak: ${minutes} minutes, seed ${seed}`)

const interrupted = listenForInterruption()
let cluster: KafkaCluster | undefined
let failure: unknown
try {
  cluster = await startCluster({ log: printNotice, signal: interrupted })
  const until = performance.now() + minutes * 60_000
  for (let run = 0; performance.now() < until && !interrupted.aborted; run++) {
    const fault = random.pick(faults)
    const result = await runFault(cluster, fault, { seed: seed + run * 10, scale: random.below(11) / 10 }).catch(
      (error: unknown) => {
        results.push({ fault: fault.name, failed: true })
        throw error
      },
    )
    results.push(result)
    printNotice(faultTable([result]).split('\n')[1] ?? '')
    for (const sentence of result.imbalances) printNotice(`  ${sentence}`)
    if (!isSoundResult(result)) break
  }
} catch (error) {
  failure = error
} finally {
  await cluster?.stop()
}
process.stdout.write(`${faultTable(results)}\n`)
if (failure) printNotice(`soak: ${(failure as Error).message}`)
const sound =
  failure === undefined && results.length > 0 && results.every((result) => 'made' in result && isSoundResult(result))
printNotice(
  sound
    ? `no event is missing, no customer is wrong, all counts match in ${results.length} runs`
    : `repeat it with --seed ${seed}`,
)
process.exit(sound ? 0 : 1)
