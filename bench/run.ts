/**
 * `npm run bench` answers all questions with real brokers. It prints the table and writes
 * bench/report/results.json, docs/performance.md and its plots. `npm run bench -- memory idle`
 * answers only the questions memory and idle. `--scale 0.2` is a quick run that writes nothing.
 */
import { readCommandLine } from '@customer-stream/runtime/command-line'
import { startBrokers } from '@customer-stream/testing'
import { profileServices } from './loads/profile-services.ts'
import { requireWrk } from './loads/wrk.ts'
import { freshness } from './questions/freshness.ts'
import { growth } from './questions/growth.ts'
import { idle } from './questions/idle.ts'
import { indexes } from './questions/indexes.ts'
import { ingressCpu } from './questions/ingress-cpu.ts'
import { ingressLatency } from './questions/ingress-latency.ts'
import { lostRedis } from './questions/lost-redis.ts'
import { memory } from './questions/memory.ts'
import { memory256 } from './questions/memory-256.ts'
import { projectorLive } from './questions/projector-live.ts'
import { projectorRate } from './questions/projector-rate.ts'
import type { Line, Question } from './questions/question.ts'
import { reader } from './questions/reader.ts'
import { rebuild } from './questions/rebuild.ts'
import { start } from './questions/start.ts'
import { stateTopic } from './questions/state-topic.ts'
import { streams } from './questions/streams.ts'
import { traces } from './questions/traces.ts'
import { workers } from './questions/workers.ts'
import { describeMachine } from './report/machine.ts'
import { type Asked, type Profiled, readingsTable } from './report/performance-page.ts'
import { printTable, writeReport } from './report/report.ts'

const questions: readonly Question[] = [
  ingressCpu,
  ingressLatency,
  traces,
  memory256,
  projectorRate,
  stateTopic,
  indexes,
  rebuild,
  lostRedis,
  projectorLive,
  freshness,
  reader,
  streams,
  memory,
  idle,
  start,
  workers,
  growth,
]
const PROFILES = 'profiles'
const printNotice = (line: string) => process.stderr.write(`${line}\n`)

const { scale, wanted } = readCommandLine({
  name: 'bench',
  usage: `npm run bench -- [NAME …] [--scale 0.2]

  Measures, prints a table, and writes docs/performance.md. Half an hour on a quiet machine. Most questions need wrk.
  NAME …        only these: ${[...questions.map(({ name }) => name), PROFILES].join(', ')}
                lost-redis runs only if it is named: it takes 7 minutes and 5 GB of disk
  --scale 0.2   a quick look, whose figures are not written`,
  options: { scale: 'text' },
  words: true,
  read: ({ texts, words }) => {
    const factor = Number(texts.scale ?? 1)
    const known = [...questions.map(({ name }) => name), PROFILES]
    if (!(factor > 0 && factor <= 1)) throw new Error('--scale must be above 0 and at most 1')
    const unknown = words.find((name) => !known.includes(name))
    if (unknown !== undefined) throw new Error(`${unknown} is not a question; there are ${known.join(', ')}`)
    const usual = [...questions.filter(({ onlyIfNamed }) => !onlyIfNamed).map(({ name }) => name), PROFILES]
    return { scale: factor, wanted: words.length > 0 ? words : usual }
  },
})
if (wanted.includes(PROFILES) || questions.some(({ name, needsWrk }) => needsWrk && wanted.includes(name)))
  await requireWrk()
const brokers = await startBrokers({ log: printNotice })
const bench = { brokers, scale, say: printNotice }
const machine = await describeMachine(brokers)
const lines: Line[] = []
/**
 * Writes the result of each question immediately, so that no result is lost if a later question
 * fails.
 */
const write = (fresh: { answers?: Record<string, Asked>; profiles?: Readonly<Record<string, Profiled>> }) => {
  const names = questions.map(({ name }) => name)
  if (scale === 1) writeReport({ machine, answers: {}, ...fresh }, names)
}
try {
  if (wanted.includes(PROFILES)) write({ profiles: await profileServices(bench) })
  for (const question of questions.filter(({ name }) => wanted.includes(name))) {
    printNotice(`\n${question.title} …`)
    const askedAt = new Date().toISOString()
    const startedAt = performance.now()
    const answer = await question.ask(bench)
    const seconds = Math.round((performance.now() - startedAt) / 1000)
    write({ answers: { [question.name]: { title: question.title, askedAt, seconds, answer } } })
    lines.push(...answer.lines)
    printNotice(readingsTable(answer.readings))
    printTable(answer.lines, printNotice)
  }
} finally {
  await brokers.stop()
}
printTable(lines, (line) => process.stdout.write(`${line}\n`))
process.exit(0)
