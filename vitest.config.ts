import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

const conditions = ['customer-stream-source']
const shared = { resolve: { conditions }, ssr: { resolve: { conditions } } }

/** The fault suite takes as long as all others together: started first, it runs beside them. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    return sorted.toSorted((a, b) => Number(b.moduleId.includes('/test/faults')) - Number(a.moduleId.includes('/test/faults')))
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    maxWorkers: 2,
    reporters: ['default', './packages/testing/src/closing-line-reporter.ts'],
    projects: [
      {
        ...shared,
        test: {
          name: 'unit',
          include: ['{packages,services}/*/src/**/*.test.ts', 'test/*.test.ts'],
          exclude: ['**/*.{int,e2e}.test.ts', '**/node_modules/**'],
        },
      },
      {
        ...shared,
        test: {
          name: 'brokers',
          include: ['{packages,services}/*/src/**/*.int.test.ts', 'test/*.e2e.test.ts'],
          globalSetup: ['./packages/testing/src/vitest-brokers.ts'],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
})
