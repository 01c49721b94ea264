export { MAX_ATTEMPTS } from './delivery.ts'
export {
  type CustomersEventOverrides,
  type MadeCustomersEvent,
  type MadeEvent,
  makeCustomersEvent,
  makeOtherEvent,
  OTHER_TYPES,
} from './events.ts'
export { type LedgerEntry, ledgerEntry, openLedger } from './ledger.ts'
export type { SimulationProgress } from './progress.ts'
export { Random } from './random.ts'
export { makeSequence, type SequencedEvent, type SequenceOptions } from './sequence.ts'
export { sign } from './signature.ts'
export { createSimulation, type Simulation, type SimulationOptions } from './simulate.ts'
export { PERSONAL_TEXTS } from './snapshot.ts'
