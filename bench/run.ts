/** `npm run bench [-- name … --scale 0.2]`: asks every question, or those named, on real brokers, and writes what it found into bench/results.json and docs/performance.md. */
import { parseArgs } from 'node:util'
import { startBrokers } from '@customer-stream/testing'
import { ingressCpu } from './ingress-cpu.ts'
import { ingressLatency } from './ingress-latency.ts'
import { requireWrk } from './load.ts'
import { projectorRate } from './projector-rate.ts'
import type { Question } from './question.ts'

const questions: readonly Question[] = [ingressCpu, ingressLatency, projectorRate]
const { values, positionals } = parseArgs({ allowPositionals: true, options: { scale: { type: 'string', default: '1' } } })
await requireWrk()
const brokers = await startBrokers({ log: console.error })
for (const q of questions.filter((q) => positionals.length === 0 || positionals.includes(q.name))) {
  const a = await q.ask({ brokers, scale: Number(values.scale), say: console.error })
  console.log(
    JSON.stringify(a.lines, null, 1),
    JSON.stringify(a.readings, (_k, v) => (typeof v === 'number' ? Math.round(v * 10) / 10 : v)),
  )
}
await brokers.stop()
process.exit(0)
