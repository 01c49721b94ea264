// This file is JavaScript, because an older Node cannot read TypeScript and would end with a stack
// trace.
import '@customer-stream/runtime/node-version'

await import('./src/main.ts')
