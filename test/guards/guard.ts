import type { TestReference } from './run-test.ts'

/** Something that keeps a fault of a library, or of ours, from doing harm; how it is taken out, and the test that must fail then. */
export interface Guard {
  readonly guard: string
  /** What breaks without it. */
  readonly prevents: string
  readonly file: string
  /** Stands in the file exactly once. */
  readonly from: string
  /** What stands there instead while the guard is out; must be valid code. */
  readonly to: string
  readonly test: TestReference
}

const under =
  (project: TestReference['project']) =>
  (file: string, title: string): TestReference => ({ project, file, title })

export const unit = under('unit')
/** On one real Kafka and one real Redis. */
export const brokers = under('brokers')
/** A row of the fault suite, in its short form: what it shows is the loss itself. */
export const faultRow = (title: string): TestReference => ({
  ...under('faults')('test/faults.e2e.test.ts', title),
  shows: /missing|a promise was given/,
})
