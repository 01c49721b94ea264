import { afterAll } from 'vitest'
import { rejectLeaks } from './leaks.ts'

// The hooks of a setup file run after the hooks of its test file, when all services have ended.
afterAll(rejectLeaks)
