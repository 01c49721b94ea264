#!/usr/bin/env -S node --conditions=customer-stream-source --
// This file is JavaScript, because an older Node cannot read TypeScript. It would end with a stack
// trace instead of the message of our check. Without the `--` above, Node itself would read the
// file of our option --env-file.
import '@customer-stream/runtime/node-version'
// Import the default export, because an import of `enableCompileCache` by name would fail in an
// older Node before the check above runs.
import module from 'node:module'
import { fileURLToPath } from 'node:url'

// The cache halves the CPU time of a start. If this user may not write to the folder, Node compiles
// the code at each start.
module.enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/node', import.meta.url)))
await import('./src/main.ts')
