import type { Reporter, TestCase } from 'vitest/node'

/** Ends a run with one plain line, `N passed, N failed`, that people and CI can read without knowing vitest. */
export default class ClosingLineReporter implements Reporter {
  #counts = { passed: 0, failed: 0, skipped: 0 }

  onTestCaseResult(test: TestCase): void {
    const { state } = test.result()
    if (state !== 'pending') this.#counts[state] += 1
  }

  // A file that does not load has no test case to fail.
  onTestRunEnd(modules: readonly { errors(): unknown[] }[], unhandledErrors: readonly unknown[]): void {
    const broken = unhandledErrors.length + modules.filter((module) => module.errors().length > 0).length
    const { passed, failed, skipped } = this.#counts
    process.once('exit', () => {
      process.stdout.write(`\n${passed} passed, ${failed + broken} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`)
    })
  }
}
