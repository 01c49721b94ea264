import { stripVTControlCharacters } from 'node:util'
import { startVitest, type TestCase } from 'vitest/node'

export interface TestReference {
  readonly project: 'unit' | 'brokers' | 'faults' | 'standstill'
  readonly file: string
  /** A pattern of the full title, as after `-t`. */
  readonly title: string
  /** What the failure must tell; a row of the fault suite that only took too long shows no loss. */
  readonly shows?: RegExp
}

export interface TestRun {
  /** `broken`: no test met its own fate, e.g. because a file did not load, or what was edited is no longer valid code. */
  readonly outcome: 'passed' | 'failed' | 'broken'
  /** One line that says why it did not pass. */
  readonly why: string
}

interface Failure {
  readonly name?: string
  readonly message: string
  readonly diff?: string
  readonly cause?: { readonly message?: string }
}

/** What code says that cannot run at all; a guard that is missing shows in what a test finds instead. */
const cannotRun = /^(Reference|Syntax)Error|ended (at its start|before it was ready)/

const MAX_CHARACTERS = 200

/** With what the test found where it compares objects, and with the cause where a property failed: the first line alone does not say. */
const lineOf = ({ name = 'Error', message, diff = '', cause }: Failure): string => {
  const firstLine = (text: string) => stripVTControlCharacters(text).split('\n')[0]
  const found = stripVTControlCharacters(diff)
    .split('\n')
    .filter((line) => /^\+ (?!Received)/.test(line))
    .map((line) => line.slice(1).trim())
  return [`${name}: ${firstLine(message)}`, ...found, firstLine(cause?.message ?? '')].join(' ').trim().slice(0, MAX_CHARACTERS)
}

/** Runs what the reference names, in the folder given. */
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
    const broken = failures.find(({ name, message }) => cannotRun.test(`${name}: ${message}`) || cannotRun.test(message))
    if (broken) return { outcome: 'broken', why: lineOf(broken) }
    if (failures[0]) return { outcome: 'failed', why: lineOf(failures[0]) }
    if (obstacle) return { outcome: 'broken', why: lineOf(obstacle) }
    return ran.length > 0 ? { outcome: 'passed', why: '' } : { outcome: 'broken', why: 'no test has this title' }
  } finally {
    await vitest.close()
    // Vitest sets it for every test that fails, which here is as it should be.
    process.exitCode = 0
  }
}
