import { fillGuards } from './fill-guards.ts'
import type { Guard } from './guard.ts'
import { ingressGuards } from './ingress-guards.ts'
import { kafkaGuards } from './kafka-guards.ts'
import { projectorGuards } from './projector-guards.ts'
import { readerGuards } from './reader-guards.ts'
import { redisGuards } from './redis-guards.ts'
import { schemaGuards } from './schema-guards.ts'
import { spoolGuards } from './spool-guards.ts'
import { subscriberGuards } from './subscriber-guards.ts'
import { toolGuards } from './tool-guards.ts'
import { traceGuards } from './trace-guards.ts'

/**
 * All guards that a test can show to be necessary. The guards protect against bugs of libraries, of
 * the network, of senders and of this project.
 */
export const guards: readonly Guard[] = [
  ...kafkaGuards,
  ...redisGuards,
  ...ingressGuards,
  ...spoolGuards,
  ...projectorGuards,
  ...readerGuards,
  ...fillGuards,
  ...schemaGuards,
  ...subscriberGuards,
  ...toolGuards,
  ...traceGuards,
]
