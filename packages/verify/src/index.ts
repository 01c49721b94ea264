export { customersInRedis } from './customers-in-redis.ts'
export { fingerprint, sha256 } from './fingerprint.ts'
export { requireMarks, requirePositions, requireReadable } from './preconditions.ts'
export { isSound, VERDICT_LEGEND, verdictLines } from './print-verdict.ts'
export { fetchEnds, readTopic } from './read-topic.ts'
export {
  quarantineReachesBackTo,
  type Verdict,
  type VerifyOptions,
  verify,
  type Witness,
} from './verify.ts'
export { recordsBehind } from './wait-for-projector.ts'
