import { stripVTControlCharacters } from 'node:util'
import { startVitest, type TestCase } from 'vitest/node'

export interface TestReference {
  readonly project: 'unit' | 'brokers' | 'subscribers' | 'faults' | 'pressure' | 'standstill'
  readonly file: string
  /** Pattern of the full title, like the option `-t`. */
  readonly title: string
  /**
   * Pattern that the failure's message must match. For example, a timeout in the fault suite does
   * not show a loss of events.
   */
  readonly shows?: RegExp
}

export interface TestRun {
  /**
   * `broken`: no test ran to its end, e.g. because a file did not load or the edited code is not
   * valid.
   */
  readonly outcome: 'passed' | 'failed' | 'broken'
  /** Reason why the test did not pass, in one line. */
  readonly why: string
}

interface Failure {
  readonly name?: string
  readonly message: string
  readonly diff?: string
  readonly cause?: { readonly message?: string }
}

/**
 * Errors of code that cannot run at all. These errors do not show that the removed code is needed.
 */
const cannotRun = /^(Reference|Syntax)Error|ended (at its start|before it was ready)/

const MAX_CHARACTERS = 200

/**
 * Returns a failure as one line, with the received values of a comparison, or the cause of a failed
 * property test.
 */
const lineOf = ({ name = 'Error', message, diff = '', cause }: Failure): string => {
  const firstLine = (text: string) => stripVTControlCharacters(text).split('\n')[0]
  const found = stripVTControlCharacters(diff)
    .split('\n')
    .filter((line) => /^\+ (?!Received)/.test(line))
    .map((line) => line.slice(1).trim())
  return [`${name}: ${firstLine(message)}`, ...found, firstLine(cause?.message ?? '')]
    .join(' ')
    .trim()
    .slice(0, MAX_CHARACTERS)
}

/** Runs the referenced tests in a folder. */
export const runTest = async (folder: string, { project, file, title }: TestReference): Promise<TestRun> => {
  const tests: TestCase[] = []
  const vitest = await startVitest([file], {
    root: folder,
    project: [project],
    testNamePattern: title,
    watch: false,
    reporters: [{ onTestCaseResult: (test: TestCase) => void tests.push(test) }],
  })
  try {
    const notLoaded = vitest.state.getTestModules().flatMap((module) => module.errors())
    const [obstacle] = [...notLoaded, ...(vitest.state.getUnhandledErrors() as Failure[])]
    const ran = tests.filter((test) => test.result().state !== 'skipped')
    const failures = ran.flatMap((test) => (test.result().errors ?? []) as readonly Failure[])
    const broken = failures.find(
      ({ name, message }) => cannotRun.test(`${name}: ${message}`) || cannotRun.test(message),
    )
    if (broken) return { outcome: 'broken', why: lineOf(broken) }
    if (failures[0]) return { outcome: 'failed', why: lineOf(failures[0]) }
    if (obstacle) return { outcome: 'broken', why: lineOf(obstacle) }
    return ran.length > 0 ? { outcome: 'passed', why: '' } : { outcome: 'broken', why: 'no test has this title' }
  } finally {
    await vitest.close()
    // Vitest sets the exit code after a failed test. Here a failed test is the expected result.
    process.exitCode = 0
  }
}
