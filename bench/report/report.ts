/**
 * Keeps the results in bench/report/results.json. Generates the page, the plots and the README's
 * table from the results (`npm run docs`). A test fails if a generated file is stale.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Profiler } from 'node:inspector'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Line } from '../questions/question.ts'
import { flameGraph } from './flame-graph.ts'
import { type Profiled, performancePage, type Results, speedTable } from './performance-page.ts'
import { plot } from './plot.ts'
import { foldProfile, sharesByPackage } from './profile.ts'

const project = fileURLToPath(new URL('../..', import.meta.url))
const RESULTS = 'bench/report/results.json'
const NOTES = 'bench/report/notes.md'
const README = 'README.md'
/** Matches the table in the README. */
const SPEED_MARKS = /(?<=<!-- speed: [^\n]* -->\n).*(?=\n<!-- end of speed -->)/s
const PICTURES = 'docs/performance'

const read = (root: string, file: string): string | undefined =>
  existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8') : undefined

export const readResults = (root = project): Results | undefined => {
  const json = read(root, RESULTS)
  return json === undefined ? undefined : (JSON.parse(json) as Results)
}

const readmeWith = (results: Results, root: string): Readonly<Record<string, string>> => {
  const [readme, speed] = [read(root, README), speedTable(results)]
  return readme === undefined || speed === undefined ? {} : { [README]: readme.replace(SPEED_MARKS, `\n${speed}\n`) }
}

/**
 * Returns the page, the plots and the README, by path. Flame graphs are not included, because their
 * profiles are not stored.
 */
export const reportFiles = (results: Results, root = project): Readonly<Record<string, string>> => {
  const curves = Object.values(results.answers).flatMap(({ answer }) => answer.curves ?? [])
  return {
    'docs/performance.md': performancePage(results, read(root, NOTES) ?? ''),
    ...readmeWith(results, root),
    ...Object.fromEntries(curves.map((curve) => [`${PICTURES}/${curve.name}.svg`, plot(curve)])),
  }
}

const writeFiles = (results: Results, root: string): void => {
  const files = reportFiles(results, root)
  mkdirSync(join(root, PICTURES), { recursive: true })
  const profiles = Object.keys(results.profiles ?? {}).map((name) => `${name}.svg`)
  const stale = readdirSync(join(root, PICTURES)).filter(
    (name) => !(`${PICTURES}/${name}` in files) && !profiles.includes(name),
  )
  for (const name of stale) rmSync(join(root, PICTURES, name))
  for (const [file, content] of Object.entries(files)) writeFileSync(join(root, file), content)
}

const sameMachine = (one: Results, other: Results): boolean =>
  JSON.stringify({ ...one.machine, date: '' }) === JSON.stringify({ ...other.machine, date: '' })

/**
 * Merges new answers into the results. Keeps old answers only if they come from the same machine
 * and software, because figures of two machines are not comparable.
 * @param questions names of all questions, in the order of the page. Answers to unknown questions
 *   are removed.
 */
export const writeReport = (fresh: Results, questions: readonly string[], root = project): void => {
  const kept = readResults(root)
  const known = kept && sameMachine(kept, fresh) ? kept : undefined
  const answers = { ...known?.answers, ...fresh.answers }
  const results: Results = {
    machine: fresh.machine,
    answers: Object.fromEntries(questions.flatMap((name) => (answers[name] ? [[name, answers[name]]] : []))),
    profiles: { ...known?.profiles, ...fresh.profiles },
  }
  mkdirSync(dirname(join(root, RESULTS)), { recursive: true })
  writeFileSync(join(root, RESULTS), `${JSON.stringify(results, null, 2)}\n`)
  writeFiles(results, root)
}

/** Draws docs/performance/{name}.svg. @returns the entry for `profiles` in the results. */
export const recordProfile = (
  name: string,
  title: string,
  profile: Profiler.Profile,
  afterMs = 0,
  root = project,
): Profiled => {
  const busy = foldProfile(profile, afterMs)
  mkdirSync(join(root, PICTURES), { recursive: true })
  writeFileSync(join(root, PICTURES, `${name}.svg`), flameGraph(busy, title))
  return { title, shares: sharesByPackage(busy) }
}

export const printTable = (lines: readonly Line[], say: (line: string) => void): void => {
  const rows = [
    ['what', 'target', 'figure', ''],
    ...lines.map(({ what, target, figure, met }) => [what, target, figure, met ? '✔' : '✘ missed']),
  ]
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)))
  for (const row of rows)
    say(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
}

if (import.meta.main) {
  const results = readResults()
  if (results) writeFiles(results, project)
}
