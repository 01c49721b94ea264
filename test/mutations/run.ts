/**
 * `npm run test:mutations [-- text]`: makes one mutation after another in a copy of the project,
 * and checks that the mutation's test fails. With a text, checks only mutations that have this text
 * in any field.
 */
import { startBrokers } from '@customer-stream/testing'
import type { Mutation } from './mutation.ts'
import { mutations } from './mutations.ts'
import { runTest, type TestReference, type TestRun } from './run-test.ts'
import { makeWorkingCopy } from './working-copy.ts'

const wanted = process.argv.slice(2).join(' ').toLowerCase()
const chosen = mutations.filter((mutation) => JSON.stringify(mutation).toLowerCase().includes(wanted))

const brokers = chosen.some(({ test }) => test.project === 'brokers' || test.project === 'subscribers')
  ? await startBrokers({ log: (line) => process.stderr.write(`${line}\n`) })
  : undefined
// The tests of this process, and the services that they start, find the brokers by these variables.
if (brokers) {
  process.env.KAFKA_BROKERS = brokers.kafkaBrokers.join(',')
  process.env.REDIS_URL = brokers.redisUrl
  delete process.env.CUSTOMER_STREAM_BROKERS
}
const copy = await makeWorkingCopy()
const keyOf = ({ project, file, title }: TestReference) => `${project} ${file} ${title}`
const untouched = new Map<string, TestRun>()

/**
 * Runs a test once without a mutation. If the test fails without a mutation, a failure with a
 * mutation shows nothing.
 */
const passesUntouched = async (test: TestReference): Promise<TestRun> => {
  const key = keyOf(test)
  const run = untouched.get(key) ?? (await runTest(copy.folder, test))
  untouched.set(key, run)
  return run
}

/**
 * Returns the maximum number of runs. The test must fail in one of them. A scenario of the fault
 * suite depends on chance, so it gets 3 runs.
 */
const attemptsOf = ({ project }: TestReference): number => (project === 'faults' || project === 'pressure' ? 3 : 1)

const untilNotPassed = async (test: TestReference): Promise<TestRun> => {
  for (let attempts = attemptsOf(test); ; attempts--) {
    const run = await runTest(copy.folder, test)
    if (run.outcome !== 'passed' || attempts === 1) return run
  }
}

const tryWith = async ({ file, from, to, test }: Mutation): Promise<{ caught: boolean; result: string }> => {
  const before = await passesUntouched(test)
  if (before.outcome !== 'passed')
    return { caught: false, result: `NOT CAUGHT: fails without the mutation: ${before.why}` }
  const undo = await copy.edit(file, from, to)
  try {
    const { outcome, why } = await untilNotPassed(test)
    if (outcome === 'failed' && (test.shows?.test(why) ?? true)) return { caught: true, result: why }
    if (outcome === 'failed') return { caught: false, result: `NOT CAUGHT: fails otherwise: ${why}` }
    return {
      caught: false,
      result: outcome === 'passed' ? 'NOT CAUGHT: the test still passes' : `NOT CAUGHT: cannot run: ${why}`,
    }
  } finally {
    await undo()
  }
}

let caught = 0
process.stdout.write('| rule | test | result |\n| --- | --- | --- |\n')
try {
  for (const mutation of chosen) {
    const found = await tryWith(mutation).catch((error: Error) => ({
      caught: false,
      result: `NOT CAUGHT: ${error.message}`,
    }))
    if (found.caught) caught += 1
    const { file, title } = mutation.test
    const cells = [mutation.rule, `${file} -t '${title}'`, found.result].map((cell) => cell.replaceAll('|', '\\|'))
    process.stdout.write(`| ${cells.join(' | ')} |\n`)
  }
} finally {
  await copy.remove()
  await brokers?.stop()
}
process.stdout.write(`\n${chosen.length} mutations, ${caught} caught\n`)
process.exit(chosen.length > 0 && caught === chosen.length ? 0 : 1)
