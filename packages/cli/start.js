#!/usr/bin/env -S node --conditions=customer-stream-source --
// JavaScript, because an older Node could not read TypeScript, and would end with a stack trace.
// Without the `--` above, Node itself would read the file of our option --env-file.
import '@customer-stream/runtime/node-version'
// An import of the function by name would fail in an older Node, before the check above.
import module from 'node:module'
import { fileURLToPath } from 'node:url'

// Halves the CPU time of a start. Without the right to write there, Node compiles at each start.
module.enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/node', import.meta.url)))
await import('./src/main.ts')
