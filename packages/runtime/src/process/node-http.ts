/**
 * Parts of `node:http`. An import of `node:http` would also load Node's `fetch`, which costs 40 ms
 * of CPU time at each start, and 14 MB of memory.
 */
export const { METHODS, STATUS_CODES, request, validateHeaderValue } = process.getBuiltinModule('node:http')
