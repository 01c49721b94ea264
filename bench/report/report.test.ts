import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Curve } from '../questions/question.ts'
import type { Machine } from './machine.ts'
import { type Asked, type Results, speedTable } from './performance-page.ts'
import { plot } from './plot.ts'
import { printTable, readResults, writeReport } from './report.ts'

const machine: Machine = {
  date: '2026-01-02',
  cpu: 'Some CPU',
  cores: 2,
  memoryGiB: 24,
  kernel: 'Linux 6.1',
  node: '24.21.0',
  kafka: '4.3.1',
  redis: '8.0.0',
  brokers: 'local',
}
const curve: Curve = {
  title: 'Rate over connections',
  name: 'rate-over-connections',
  x: 'connections',
  y: 'events per second',
  logX: true,
  series: [{ name: 'ingress', points: [900, 1000].map((x) => ({ x, y: { median: x, min: x, max: x } })) }],
}
const asked = (title: string, figure: string): Asked => ({
  title,
  askedAt: '2026-01-02T03:04:05.000Z',
  seconds: 12.34,
  answer: {
    lines: [{ what: `what ${title} costs`, target: '≤ 1', figure, met: figure === '1' }],
    readings: { bare: { 'µs | event': { median: 1234.5, min: 1000, max: 2000 } } },
    curves: title === 'first' ? [curve] : [],
    notes: ['A note.'],
  },
})

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'report-'))
})
afterEach(() => rmSync(root, { recursive: true }))

const order = ['first', 'second']
const write = (answers: Results['answers'], on = machine) => writeReport({ machine: on, answers }, order, root)
const page = () => readFileSync(join(root, 'docs/performance.md'), 'utf8')
const picture = () => join(root, 'docs/performance/rate-over-connections.svg')

describe('a report', () => {
  it('a new run replaces only the answers of its own questions, and keeps their order', () => {
    write({ second: asked('second', '1') })
    write({ first: asked('first', '2') })
    write({ second: asked('second', '3') })
    expect(page().match(/^\| what .*$/gm)).toEqual([
      '| what | target | figure | verdict |',
      '| what first costs | ≤ 1 | 2 | **missed** |',
      '| what second costs | ≤ 1 | 3 | **missed** |',
    ])
  })

  it('the report drops figures of another machine, and keeps figures of an earlier date', () => {
    write({ first: asked('first', '1') })
    write({ second: asked('second', '1') }, { ...machine, date: '2026-02-03' })
    expect(Object.keys(readResults(root)!.answers)).toEqual(['first', 'second'])
    write({ second: asked('second', '1') }, { ...machine, node: '26.0.0' })
    expect(Object.keys(readResults(root)!.answers)).toEqual(['second'])
  })

  it('the report draws each curve, and deletes the plots of removed curves', () => {
    write({ first: asked('first', '1') })
    expect(page()).toContain('(performance/rate-over-connections.svg)')
    expect(existsSync(picture())).toBe(true)
    write({ first: asked('renamed', '1') })
    expect(existsSync(picture())).toBe(false)
  })

  it('the report shows a note in the section of its question', () => {
    mkdirSync(join(root, 'bench/report'), { recursive: true })
    writeFileSync(join(root, 'bench/report/notes.md'), '## second\n\nWhy.\n')
    write({ first: asked('first', '1'), second: asked('second', '1') })
    expect(page()).toContain('\n\nA note.\n\nWhy.\n')
    expect(page().indexOf('Why.')).toBeGreaterThan(page().indexOf('## second'))
  })

  it('the report shows several readings as median, lowest and highest value', () => {
    write({ first: asked('first', '1') })
    expect(page()).toContain('|  | µs \\| event |\n| --- | --- |\n| bare | 1,230 (1,000–2,000) |\n')
  })
})

describe('the table of speed in the README', () => {
  const marked = (table: string) => `before\n\n<!-- speed: generated -->\n${table}\n<!-- end of speed -->\n\nafter\n`
  const readme = () => readFileSync(join(root, 'README.md'), 'utf8')
  const measured = readResults()!

  it('the README table gets the figures of the results, and no other text changes', () => {
    writeFileSync(join(root, 'README.md'), marked('old'))
    writeReport(measured, Object.keys(measured.answers), root)
    expect(readme()).toBe(marked(`\n${speedTable(measured)}\n`))
  })

  it('the README table is not changed if a question of the table has no answer', () => {
    writeFileSync(join(root, 'README.md'), marked('old'))
    const { memory: _, ...others } = measured.answers
    writeReport({ ...measured, answers: others }, Object.keys(measured.answers), root)
    expect(readme()).toBe(marked('old'))
  })
})

it('a table on the console has aligned columns', () => {
  const lines: string[] = []
  printTable([...asked('first', '1').answer.lines, ...asked('second', '22').answer.lines], (line) => lines.push(line))
  expect(lines).toEqual([
    'what               target  figure', //
    'what first costs   ≤ 1     1       ✔',
    'what second costs  ≤ 1     22      ✘ missed',
  ])
})

describe('a plot', () => {
  const heights = (svg: string) => [...svg.matchAll(/<circle cx="[\d.]+" cy="([\d.]+)"/g)].map(([, y]) => Number(y))

  it('an axis begins at 0, so that heights can be compared', () => {
    const [low = 0, high = 0] = heights(plot(curve))
    const zero = Number(/y="([\d.]+)">0<\/text>/.exec(plot(curve))?.[1]) - 4
    expect((zero - high) / (zero - low)).toBeCloseTo(1000 / 900, 2)
  })

  it('a logarithmic axis refuses 0, and the error names the curve', () => {
    const points = [{ x: 0, y: { median: 1, min: 1, max: 1 } }]
    expect(() => plot({ ...curve, series: [{ name: 'off', points }] })).toThrow(
      'rate-over-connections: a logarithmic axis has no 0.',
    )
  })
})
