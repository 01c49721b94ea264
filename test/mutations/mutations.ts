import { erasureMutations } from './erasure-mutations.ts'
import { fillMutations } from './fill-mutations.ts'
import { indexMutations } from './index-mutations.ts'
import { ingressMutations } from './ingress-mutations.ts'
import { kafkaConsumerMutations } from './kafka-consumer-mutations.ts'
import { kafkaMutations } from './kafka-mutations.ts'
import { kafkaProducerMutations } from './kafka-producer-mutations.ts'
import { kafkaTopicMutations } from './kafka-topic-mutations.ts'
import type { Mutation } from './mutation.ts'
import { positionMutations } from './position-mutations.ts'
import { projectorMutations } from './projector-mutations.ts'
import { readerMutations } from './reader-mutations.ts'
import { redisMutations } from './redis-mutations.ts'
import { schemaMutations } from './schema-mutations.ts'
import { spoolMutations } from './spool-mutations.ts'
import { storeMutations } from './store-mutations.ts'
import { subscriberMutations } from './subscriber-mutations.ts'
import { toolMutations } from './tool-mutations.ts'
import { traceMutations } from './trace-mutations.ts'

/**
 * All mutations. Each mutation removes code that protects against a bug of a library, the network,
 * a sender or this project.
 */
export const mutations: readonly Mutation[] = [
  ...kafkaMutations,
  ...kafkaTopicMutations,
  ...kafkaProducerMutations,
  ...kafkaConsumerMutations,
  ...redisMutations,
  ...ingressMutations,
  ...spoolMutations,
  ...storeMutations,
  ...positionMutations,
  ...indexMutations,
  ...erasureMutations,
  ...projectorMutations,
  ...readerMutations,
  ...fillMutations,
  ...schemaMutations,
  ...subscriberMutations,
  ...toolMutations,
  ...traceMutations,
]
