import type { Guard } from './guard.ts'
import { ingressGuards } from './ingress-guards.ts'
import { kafkaGuards } from './kafka-guards.ts'
import { projectorGuards } from './projector-guards.ts'

export const guards: readonly Guard[] = [...kafkaGuards, ...ingressGuards, ...projectorGuards]
