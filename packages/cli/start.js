#!/usr/bin/env -S node --conditions=customer-stream-source
// JavaScript, because an older Node could not read TypeScript, and would end with a stack trace.
import '@customer-stream/runtime/node-version'

await import('./src/main.ts')
