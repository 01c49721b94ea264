import type { Reporter, TestCase, TestModule } from 'vitest/node'

/** Ends a test run with one plain line for people and CI: `N passed, N failed`. */
export default class ClosingLineReporter implements Reporter {
  #counts = { passed: 0, failed: 0, skipped: 0 }

  onTestCaseResult(test: TestCase): void {
    const { state } = test.result()
    if (state !== 'pending') this.#counts[state] += 1
  }

  // Count files that do not load and suites whose setup fails, because they have no failed test
  // case.
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const suites = modules.flatMap((module) => [module, ...module.children.allSuites()])
    const broken = unhandledErrors.length + suites.filter((suite) => suite.errors().length > 0).length
    const { passed, failed, skipped } = this.#counts
    process.once('exit', () => {
      process.stdout.write(
        `\n${passed} passed, ${failed + broken} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`,
      )
    })
  }
}
