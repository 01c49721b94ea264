/**
 * Returns `node:http`. The first call loads the module, which costs 15 ms of CPU time. Most
 * commands need no HTTP. An import of `node:http` would also load Node's `fetch`, which costs 40 ms
 * more, and 14 MB of memory.
 */
export const nodeHttp = () => process.getBuiltinModule('node:http')
