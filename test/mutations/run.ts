/**
 * `npm run test:mutations [-- text]`: removes one guard after another in a copy of the project, and
 * checks that the guard's test fails. With a text, checks only guards that have this text in any
 * field.
 */
import { startBrokers } from '@customer-stream/testing'
import type { Guard } from './guard.ts'
import { guards } from './guards.ts'
import { runTest, type TestReference, type TestRun } from './run-test.ts'
import { makeWorkingCopy } from './working-copy.ts'

const wanted = process.argv.slice(2).join(' ').toLowerCase()
const chosen = guards.filter((guard) => JSON.stringify(guard).toLowerCase().includes(wanted))

const brokers = chosen.some(({ test }) => test.project === 'brokers')
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
 * Runs a test once with all guards in place. If the test fails with all guards, a failure without a
 * guard shows nothing.
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
const triesOf = ({ project }: TestReference): number => (project === 'faults' || project === 'pressure' ? 3 : 1)

const untilNotPassed = async (test: TestReference): Promise<TestRun> => {
  for (let tries = triesOf(test); ; tries--) {
    const run = await runTest(copy.folder, test)
    if (run.outcome !== 'passed' || tries === 1) return run
  }
}

const tryWithout = async ({ file, from, to, test }: Guard): Promise<{ caught: boolean; result: string }> => {
  const before = await passesUntouched(test)
  if (before.outcome !== 'passed')
    return { caught: false, result: `NOT CAUGHT: fails with the guard in place: ${before.why}` }
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
process.stdout.write('| guard | test | result |\n| --- | --- | --- |\n')
try {
  for (const guard of chosen) {
    const found = await tryWithout(guard).catch((error: Error) => ({
      caught: false,
      result: `NOT CAUGHT: ${error.message}`,
    }))
    if (found.caught) caught += 1
    const { file, title } = guard.test
    const cells = [guard.guard, `${file} -t '${title}'`, found.result].map((cell) => cell.replaceAll('|', '\\|'))
    process.stdout.write(`| ${cells.join(' | ')} |\n`)
  }
} finally {
  await copy.remove()
  await brokers?.stop()
}
process.stdout.write(`\n${chosen.length} guards, ${caught} caught\n`)
process.exit(chosen.length > 0 && caught === chosen.length ? 0 : 1)
