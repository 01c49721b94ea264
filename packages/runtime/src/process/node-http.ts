/**
 * Returns `node:http`. The first call loads it, which costs 15 ms of CPU time, and most commands
 * need no HTTP. An import of `node:http` would also load Node's `fetch`, which costs 40 ms more,
 * and 14 MB of memory.
 */
export const nodeHttp = () => process.getBuiltinModule('node:http')
