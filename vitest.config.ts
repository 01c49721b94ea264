import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

const conditions = ['customer-stream-source']
/** Tests of the short fault suite. The file that takes longest is first. */
const faults = [
  'test/faults/service-faults.e2e.test.ts',
  'test/faults/broker-faults.e2e.test.ts',
  'test/faults/redis-faults.e2e.test.ts',
  'test/faults/leaders.e2e.test.ts',
  'test/faults/slow-brokers.e2e.test.ts',
]
/** Tests of the full fault suite alone. */
const longFaults = ['test/faults/upgrade.e2e.test.ts', 'test/faults/restore.e2e.test.ts']
const sweep = 'test/standstill/standstill.e2e.test.ts'
/** `npm test` sets SWEEP, and runs several projects. With `part`, it runs a part of the sweep. */
const isWholeRun = process.env.SWEEP !== undefined
const isSweepPart = process.env.SWEEP === 'part'
const withUsers = [
  sweep,
  'test/standstill/command-rights.e2e.test.ts',
  'test/standstill/reader-rights.e2e.test.ts',
  'packages/runtime/src/kafka/diagnosis.int.test.ts',
]
/** Long files, which run beside the unit tests. All but the checks mostly wait. */
const besideUnitTests = [
  'test/e2e/alerts.e2e.test.ts',
  'packages/subscriber/src/network.int.test.ts',
  'packages/subscriber/src/subscribe-to-deliveries.int.test.ts',
  'test/checks.test.ts',
]
// Vitest starts large files first. These files take long, although some of them are small. At the
// end of a run they would run alone. The sweep needs much of the CPU, so the files around it are
// files that mostly wait.
const longest = [
  'test/e2e/redis-cluster.e2e.test.ts',
  sweep,
  'test/e2e/rebuild-command.e2e.test.ts',
  'test/e2e/watchdogs.e2e.test.ts',
  'packages/runtime/src/kafka/oauth-bearer.int.test.ts',
  'test/e2e/reader-operations.e2e.test.ts',
  'test/e2e/terminal-width.e2e.test.ts',
  'test/e2e/console.e2e.test.ts',
  'test/e2e/demo.e2e.test.ts',
  'test/e2e/verify.e2e.test.ts',
  'test/e2e/reader.e2e.test.ts',
  'test/e2e/subscriber-package.e2e.test.ts',
  'test/e2e/status.e2e.test.ts',
  'test/e2e/start-and-outages.e2e.test.ts',
  'test/e2e/pipeline.e2e.test.ts',
  'test/e2e/fill-from-state.e2e.test.ts',
  'test/e2e/quarantine-command.e2e.test.ts',
  ...withUsers.slice(1),
  ...faults,
]
/** Places of the files that are not named in `order`. */
const [UNIT_TESTS, ISOLATED, SHARED] = ['unit tests', 'isolated files', 'other files']
const order = [...besideUnitTests, UNIT_TESTS, ...longest, ISOLATED, SHARED]
/** Starts the files of each group in this order. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId, project }: TestSpecification) => {
      const { isolate, sequence } = project.config
      // A shared worker ends before a file that needs its own worker, so these files are first.
      const others = project.name === 'unit' ? UNIT_TESTS : isolate ? ISOLATED : SHARED
      const place = order.findIndex((entry) => entry === others || moduleId.endsWith(entry))
      return [sequence.groupOrder, place] as const
    }
    return (await super.sort(files)).toSorted((a, b) => {
      const [[groupA, placeA], [groupB, placeB]] = [rank(a), rank(b)]
      return groupA - groupB || placeA - placeB
    })
  }
}
/** Tests of the kit for subscribers need kafkajs without our workarounds. Other files load them. */
const ofSubscribers = 'packages/subscriber/src/*.int.test.ts'
const examples = 'test/e2e/examples.e2e.test.ts'
const leaks = ['./packages/testing/src/vitest-leaks.ts']
const shared = {
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  // Vitest runs the global setup in this environment. Without these conditions, the setup would
  // import the built schemas, which may be missing or old.
  environments: { __vitest__: { resolve: { conditions } } },
}

export default defineConfig({
  test: {
    // Tests on brokers often wait. On two cores a whole run takes 353 s with six workers, and 389 s
    // with five.
    maxWorkers: 6,
    // Concurrent tests of one file. Each test starts two services. Two cores are enough for six
    // such tests.
    maxConcurrency: 6,
    // Caches compiled code, so that each program is compiled only once. This halves the time of a
    // start.
    env: { NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/node', import.meta.url)) },
    sequence: { sequencer: LongestFirst },
    reporters: ['default', './packages/testing/src/closing-line-reporter.ts'],
    projects: [
      {
        ...shared,
        test: {
          name: 'unit',
          include: [
            '{packages,services}/*/src/**/*.test.ts',
            'services/reader/console/*.test.ts',
            '{test,tools,bench}/**/*.test.ts',
          ],
          exclude: ['**/*.{int,e2e}.test.ts', '**/node_modules/**'],
          // These tests compute and do not wait. With more workers for them, they would reach their
          // time limits. In a whole run, the other workers run tests that wait.
          ...(!isWholeRun && { maxWorkers: 3 }),
          // A worker runs many files, and loads modules such as kafkajs only once. This needs 60 %
          // of the CPU time. So a test may leave nothing behind in a module, a global or a
          // prototype.
          isolate: false,
          restoreMocks: true,
          unstubEnvs: true,
          sequence: { groupOrder: isWholeRun ? 1 : 0 },
        },
      },
      {
        ...shared,
        // These tests use brokers with their own users and rights. The whole sweep runs after the
        // other tests. Together they would take all of the CPU, and tests would reach their time
        // limits.
        test: {
          name: 'standstill',
          sequence: { groupOrder: isSweepPart ? 1 : 2 },
          setupFiles: leaks,
          include: isSweepPart ? [sweep] : withUsers,
          hookTimeout: 120_000,
        },
      },
      {
        ...shared,
        test: {
          name: 'brokers',
          sequence: { groupOrder: 1 },
          include: ['{packages,services}/*/src/**/*.int.test.ts', 'test/e2e/*.e2e.test.ts'],
          exclude: [...withUsers, ofSubscribers, examples, '**/node_modules/**'],
          globalSetup: ['./packages/testing/src/vitest-brokers.ts'],
          setupFiles: leaks,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // As the unit tests: a worker loads modules such as kafkajs only once.
          isolate: false,
          restoreMocks: true,
          unstubEnvs: true,
        },
      },
      {
        ...shared,
        test: {
          name: 'subscribers',
          sequence: { groupOrder: 1 },
          include: [ofSubscribers],
          globalSetup: ['./packages/testing/src/vitest-brokers.ts'],
          setupFiles: leaks,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        ...shared,
        // Builds programs in other languages, which downloads their libraries.
        test: {
          name: 'examples',
          sequence: { groupOrder: 1 },
          include: [examples],
          globalSetup: ['./packages/testing/src/vitest-brokers.ts'],
          setupFiles: leaks,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        ...shared,
        test: {
          name: 'fuzz',
          sequence: { groupOrder: 1 },
          include: ['test/fuzz/*.test.ts'],
          globalSetup: ['./packages/testing/src/vitest-brokers.ts'],
          setupFiles: leaks,
          hookTimeout: 120_000,
        },
      },
      {
        ...shared,
        // Starts its own three brokers and a Prometheus, and takes about 14 minutes.
        test: {
          name: 'alerts',
          sequence: { groupOrder: 1 },
          include: ['test/alerts/*.e2e.test.ts'],
          setupFiles: leaks,
        },
      },
      {
        ...shared,
        // Each file of the fault suite kills and freezes its own three brokers. Two files run at
        // the same time, because they often wait. No other tests run at this time, because they
        // would take too much of the CPU. A group starts when the group with the lower `groupOrder`
        // has ended. The short form has no upgrades from earlier releases, and no restored disks.
        test: {
          name: 'faults',
          include: process.env.FAULTS === 'short' ? faults : [...faults, ...longFaults],
          setupFiles: leaks,
          hookTimeout: 120_000,
          maxWorkers: 2,
          sequence: { groupOrder: 3 },
        },
      },
      {
        ...shared,
        // The part of the fault suite that demands each answer within the time that the sender
        // waits. No other file runs at this time, because it could delay these answers.
        test: {
          name: 'pressure',
          include: ['test/faults/pressure-faults.e2e.test.ts'],
          setupFiles: leaks,
          hookTimeout: 120_000,
          maxWorkers: 1,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
})
