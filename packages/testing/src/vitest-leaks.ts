import { afterAll } from 'vitest'

// The hooks of a setup file run after the hooks of its test file, when all services have ended.
// Import only now, because the import adds codecs to kafkajs, and a subscriber has none.
afterAll(async () => (await import('./leaks.ts')).rejectLeaks())
