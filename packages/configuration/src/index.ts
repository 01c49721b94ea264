/** Settings of both services, and their requirements on the topics. */
export * from './ingress.ts'
export * from './projector.ts'
export * from './topics.ts'
