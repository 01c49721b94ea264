/**
 * Parts that only the services use. These parts load the library of the metrics, which no command
 * needs.
 */
export { createObstacles } from './blocked.ts'
export * from './metrics.ts'
export * from './ready-gauge.ts'
export * from './secret-files.ts'
export * from './traces.ts'
