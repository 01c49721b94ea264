/**
 * Converts a CPU profile of V8 (`node --cpu-prof`) to a tree of busy functions, with shares by
 * package.
 */
import type { Profiler } from 'node:inspector'

export const PACKAGES = ['ours', 'kafkajs', 'ioredis', 'fastify', 'other packages', 'node', 'gc'] as const
export type Package = (typeof PACKAGES)[number]

export interface Frame {
  readonly name: string
  /** Path relative to the project's folder. */
  readonly file: string
  readonly package: Package
  selfMs: number
  totalMs: number
  readonly callees: Map<string, Frame>
}

/** Time of a package's own code, as a share of the busy time. */
export interface Share {
  readonly package: Package
  readonly share: number
  /** Functions with the largest shares. */
  readonly functions: readonly { readonly name: string; readonly share: number }[]
}

type Node = Profiler.ProfileNode
type CallFrame = Node['callFrame']

const fileOf = (url: string): string =>
  url.includes('/node_modules/')
    ? url.slice(url.lastIndexOf('/node_modules/') + '/node_modules/'.length)
    : (/^.*\/((?:packages|services|bench)\/.*)$/.exec(url)?.[1] ?? url.replace(/^file:.*\//, ''))

/** Returns the function's name, or the file's name if the function has no name. */
const nameOf = ({ functionName, url }: CallFrame): string => {
  if (functionName.startsWith('RegExp: ')) return 'RegExp'
  if (functionName !== '' && functionName !== 'module.exports') return functionName
  const file = fileOf(url)
  return `(${/[^/]+(?:\/index\.[a-z]+)?$/.exec(file)?.[0] ?? 'anonymous'})`
}

const packageOf = ({ functionName, url }: CallFrame, caller: Package): Package => {
  if (functionName === '(garbage collector)') return 'gc'
  // Count code of V8 or Node, for example a regular expression, as the caller's code.
  if (url === '') return caller
  if (!url.startsWith('file:')) return 'node'
  if (!url.includes('/node_modules/')) return 'ours'
  const name = fileOf(url)
  if (/^kafkajs\//.test(name)) return 'kafkajs'
  if (/^(@?ioredis|redis-[a-z]+)\//.test(name)) return 'ioredis'
  return /^@?fastify\//.test(name) ? 'fastify' : 'other packages'
}

/**
 * Returns the milliseconds that each node needed itself, without its callees. A sample lasts until
 * the next sample.
 * @param afterMs samples before this time of the profile are left out.
 */
const selfMsByNode = ({ samples = [], timeDeltas = [] }: Profiler.Profile, afterMs: number): Map<number, number> => {
  const selfMs = new Map<number, number>()
  let now = 0
  samples.forEach((node, i) => {
    now += (timeDeltas[i] ?? 0) / 1000
    // A difference may be negative, because different threads stamp the samples.
    const lasted = Math.max(0, timeDeltas[i + 1] ?? 0) / 1000
    if (now >= afterMs) selfMs.set(node, (selfMs.get(node) ?? 0) + lasted)
  })
  return selfMs
}

const frame = (name: string, file: string, of: Package): Frame => ({
  name,
  file,
  package: of,
  selfMs: 0,
  totalMs: 0,
  callees: new Map(),
})

/** Merges calls of one function from the same parent into one frame. Idle time is left out. */
export const foldProfile = (profile: Profiler.Profile, afterMs = 0): Frame => {
  const selfMs = selfMsByNode(profile, afterMs)
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]))
  const fold = (node: Node, caller: Frame): void => {
    if (node.callFrame.functionName === '(idle)') return
    const name = nameOf(node.callFrame)
    const file = fileOf(node.callFrame.url)
    const key = `${name} ${file}`
    const folded = caller.callees.get(key) ?? frame(name, file, packageOf(node.callFrame, caller.package))
    const before = folded.totalMs
    const own = selfMs.get(node.id) ?? 0
    folded.selfMs += own
    folded.totalMs += own
    for (const id of node.children ?? []) fold(nodes.get(id)!, folded)
    if (folded.totalMs > 0) caller.callees.set(key, folded)
    caller.totalMs += folded.totalMs - before
  }
  const root = frame('all busy time', '', 'node')
  for (const id of profile.nodes[0]?.children ?? []) fold(nodes.get(id)!, root)
  return root
}

export const sharesByPackage = (root: Frame, functionsEach = 3): Share[] => {
  const byPackage = new Map<Package, Map<string, number>>()
  const visit = (visited: Frame): void => {
    const functions = byPackage.get(visited.package) ?? new Map<string, number>()
    byPackage.set(
      visited.package,
      functions.set(visited.name, (functions.get(visited.name) ?? 0) + visited.selfMs / root.totalMs),
    )
    for (const callee of visited.callees.values()) visit(callee)
  }
  visit(root)
  return [...byPackage]
    .map(([name, functions]) => ({
      package: name,
      share: [...functions.values()].reduce((sum, share) => sum + share, 0),
      functions: [...functions]
        .map(([functionName, share]) => ({ name: functionName, share }))
        .sort((a, b) => b.share - a.share)
        .slice(0, functionsEach),
    }))
    .filter(({ share }) => share > 0)
    .sort((a, b) => b.share - a.share)
}
