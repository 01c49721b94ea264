#!/usr/bin/env -S node --conditions=customer-stream-source --
// JavaScript, because an older Node could not read TypeScript, and would end with a stack trace.
// Without the `--` above, Node itself would read the file of our option --env-file.
import '@customer-stream/runtime/node-version'

await import('./src/main.ts')
