import type { Guard } from './guard.ts'
import { ingressGuards } from './ingress-guards.ts'
import { kafkaGuards } from './kafka-guards.ts'
import { projectorGuards } from './projector-guards.ts'
import { redisGuards } from './redis-guards.ts'
import { schemaGuards } from './schema-guards.ts'
import { spoolGuards } from './spool-guards.ts'
import { toolGuards } from './tool-guards.ts'

/** Every guard of ours against a fault of a library, of the network, of a sender or of our own, as far as a test can show that it is needed. */
export const guards: readonly Guard[] = [
  ...kafkaGuards,
  ...redisGuards,
  ...ingressGuards,
  ...spoolGuards,
  ...projectorGuards,
  ...schemaGuards,
  ...toolGuards,
]
