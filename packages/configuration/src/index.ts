/** Settings of all services, and their requirements on the topics. */
export * from './api-keys.ts'
export * from './ingress.ts'
export * from './projector.ts'
export * from './reader.ts'
export * from './topics.ts'
