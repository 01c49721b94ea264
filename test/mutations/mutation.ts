import type { TestReference } from './run-test.ts'

/**
 * A mutation of the code. A mutation removes one protection against a bug of a library or of this
 * project. After the removal, the test of the mutation must fail.
 */
export interface Mutation {
  /** The rule that the code protects. */
  readonly rule: string
  /** The damage that occurs without this code. */
  readonly prevents: string
  readonly file: string
  /** Text that occurs in the file exactly once. */
  readonly from: string
  /** The same code without the protection. Must be valid TypeScript or Lua. */
  readonly to: string
  readonly test: TestReference
}

const under =
  (project: TestReference['project']) =>
  (file: string, title: string): TestReference => ({ project, file, title })

export const unit = under('unit')
/** Names a test that uses one real Kafka and one real Redis. */
export const brokers = under('brokers')
/** Names a test of the kit for subscribers that uses one real Kafka. */
export const subscribers = under('subscribers')
/**
 * Names a scenario of the fault suite, in its short form. The failure must show a loss of events.
 */
export const faultRow = (subject: 'broker' | 'pressure' | 'redis', title: string): TestReference => ({
  ...under(subject === 'pressure' ? 'pressure' : 'faults')(`test/faults/${subject}-faults.e2e.test.ts`, title),
  shows: /missing|an event got 202/,
})
