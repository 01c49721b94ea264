export { differingFields } from './compare-document.ts'
export { customersInRedis } from './customers-in-redis.ts'
export { fingerprint, sha256 } from './fingerprint.ts'
export { readLedger } from './ledger.ts'
export { type ProgressOf, readProgress, type StoredFill, type StoredProgress } from './positions.ts'
export { missingPositions, positionsKeys, requireMarks, requirePositions, requireScan } from './preconditions.ts'
export { isSound, VERDICT_LEGEND, verdictLines } from './print-verdict.ts'
export { readStateDocument, type StateDocument } from './read-event.ts'
export { type NewestRead, readNewest } from './read-newest.ts'
export { planRepair, type Repairable, type RepairedPartition, repair } from './repair.ts'
export {
  type Observer,
  quarantineReachesBackTo,
  type Verdict,
  type VerifyOptions,
  verify,
} from './verify.ts'
export { recordsBehind } from './wait-for-projector.ts'
