import { afterAll } from 'vitest'

// The hooks of a setup file run after the hooks of its test file, when all services have ended.
// Import the file only here, because the import adds codecs to kafkajs. Tests of subscribers need
// kafkajs without these codecs.
afterAll(async () => (await import('./leaks.ts')).rejectLeaks())
