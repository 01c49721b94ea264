// This file is JavaScript, because an older Node cannot read TypeScript and would end with a stack
// trace.
import '@customer-stream/runtime/node-version'
import { setFlagsFromString } from 'node:v8'

// V8 begins a major collection when the heap has doubled since the last one. Without this flag, the
// heap may grow four times as large under load. With few events, V8 would collect it every two
// seconds, and each collection delays events by several milliseconds.
setFlagsFromString('--heap-growing-percent=100')

await import('./src/main.ts')
