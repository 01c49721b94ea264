import type { Profiler } from 'node:inspector'
import { describe, expect, it } from 'vitest'
import { flameGraph } from './flame-graph.ts'
import { foldProfile, sharesByPackage } from './profile.ts'

const OURS = 'file:///home/me/services/customer-stream/services/ingress/src/http/app.ts'
const KAFKAJS = 'file:///home/me/customer-stream/node_modules/kafkajs/src/protocol/crc32C/index.js'

/** @param samples pairs of a node and its running time in milliseconds, in order. */
const profileOf = (
  nodes: readonly (readonly [id: number, functionName: string, url: string, ...children: number[]])[],
  samples: readonly (readonly [node: number, ms: number])[],
): Profiler.Profile => ({
  nodes: nodes.map(([id, functionName, url, ...children]) => ({
    id,
    callFrame: { functionName, url, scriptId: '0', lineNumber: 0, columnNumber: 0 },
    children,
  })),
  startTime: 0,
  endTime: 0,
  samples: [...samples.map(([node]) => node), 1],
  timeDeltas: [0, ...samples.map(([, ms]) => ms * 1000)],
})

const profile = profileOf(
  [
    [1, '(root)', '', 2, 3, 4, 7],
    [2, '(idle)', ''],
    [3, '(garbage collector)', ''],
    [4, 'route', OURS, 5, 6],
    [5, 'RegExp: a|b', ''],
    [6, 'module.exports', KAFKAJS],
    [7, 'route', OURS, 8],
    [8, 'module.exports', KAFKAJS],
  ],
  [
    [5, 40],
    [2, 500],
    [6, 10],
    [8, 20],
    [4, 20],
    [3, 10],
  ],
)

describe('a profile', () => {
  it('two calls of a function from one place share one frame, and idle time has no frame', () => {
    const root = foldProfile(profile)
    expect(root.totalMs).toBe(100)
    expect([...root.callees.values()].map(({ name, totalMs }) => [name, totalMs])).toEqual([
      ['(garbage collector)', 10],
      ['route', 90],
    ])
    const [, route] = root.callees.values()
    expect([...route!.callees.values()].map(({ name, file, totalMs }) => [name, file, totalMs])).toEqual([
      ['RegExp', '', 40],
      ['(crc32C/index.js)', 'kafkajs/src/protocol/crc32C/index.js', 30],
    ])
  })

  it('the time of a built-in function of V8 counts for its caller', () => {
    expect(
      sharesByPackage(foldProfile(profile)).map(({ package: of, share }) => [of, Math.round(share * 100)]),
    ).toEqual([
      ['ours', 60],
      ['kafkajs', 30],
      ['gc', 10],
    ])
  })

  it('a profile can leave out the start of the process', () => {
    expect(foldProfile(profile, 540).totalMs).toBe(60)
  })

  it('a profile does not contain the path of its folder', () => {
    const svg = flameGraph(foldProfile(profile), 'Ingress')
    expect(svg).toContain('<title>route services/ingress/src/http/app.ts: 90.0 %, itself 20.0 %</title>')
    expect(svg).not.toContain('/home/me')
  })
})

describe('a flame graph', () => {
  it('the flame graph leaves out frames that are too narrow, with their callees', () => {
    const svg = flameGraph(
      foldProfile(
        profileOf(
          [
            [1, '(root)', '', 2, 3],
            [2, 'wide', OURS],
            [3, 'narrow', OURS, 4],
            [4, 'beneath', OURS],
          ],
          [
            [2, 999],
            [4, 1],
          ],
        ),
      ),
      'Ingress',
    )
    expect(svg).toContain('wide')
    expect(svg).not.toMatch(/narrow|beneath/)
  })
})
