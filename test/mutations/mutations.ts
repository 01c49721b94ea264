import { fillMutations } from './fill-mutations.ts'
import { ingressMutations } from './ingress-mutations.ts'
import { kafkaMutations } from './kafka-mutations.ts'
import type { Mutation } from './mutation.ts'
import { projectorMutations } from './projector-mutations.ts'
import { readerMutations } from './reader-mutations.ts'
import { redisMutations } from './redis-mutations.ts'
import { schemaMutations } from './schema-mutations.ts'
import { spoolMutations } from './spool-mutations.ts'
import { subscriberMutations } from './subscriber-mutations.ts'
import { toolMutations } from './tool-mutations.ts'
import { traceMutations } from './trace-mutations.ts'

/**
 * All mutations. Each mutation removes code that protects against a bug of a library, the network,
 * a sender or this project.
 */
export const mutations: readonly Mutation[] = [
  ...kafkaMutations,
  ...redisMutations,
  ...ingressMutations,
  ...spoolMutations,
  ...projectorMutations,
  ...readerMutations,
  ...fillMutations,
  ...schemaMutations,
  ...subscriberMutations,
  ...toolMutations,
  ...traceMutations,
]
