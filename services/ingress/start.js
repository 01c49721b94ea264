// This file is JavaScript, because an older Node cannot read TypeScript and would end with a stack
// trace.
import '@customer-stream/runtime/node-version'
import { setFlagsFromString } from 'node:v8'

// With this flag, V8 begins a major garbage collection when the heap has doubled since the last
// collection. Without this flag, the heap may grow to four times its size under load. With few
// events, V8 then collects the heap every two seconds. Each collection delays events by several
// milliseconds.
setFlagsFromString('--heap-growing-percent=100')

await import('./src/main.ts')
