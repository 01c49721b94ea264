import { listenForInterruption, readCommandLine } from '@customer-stream/runtime/command-line'
import { simulateCommandLine } from './arguments.ts'
import type { SimulationProgress } from './progress.ts'
import { createSimulation } from './simulate.ts'

const printNotice = (line: string) => process.stderr.write(`${process.stderr.isTTY ? '\r\u001b[K' : ''}${line}\n`)

const options = readCommandLine(simulateCommandLine)
const signal = listenForInterruption()
const simulation = createSimulation({ ...options, signal, onFirstFailedConnection: tellUnreachable })
printNotice(`repeat this run with --seed ${simulation.seed} --newest-timestamp ${simulation.newestTimestamp}`)
const startedAt = performance.now()
const shown = setInterval(showProgress, process.stderr.isTTY ? 250 : 5000, simulation.progress)
try {
  const progress = await simulation.run()
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
  process.stdout.write(summary(progress, (performance.now() - startedAt) / 1000))
  process.exitCode = signal.aborted ? 130 : progress.lost > 0 ? 1 : 0
} catch (error) {
  printNotice(`simulate: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
} finally {
  clearInterval(shown)
}

function tellUnreachable(reason: string): void {
  printNotice(
    `simulate: no connection to ${new URL(options.url).host} (${reason}). The address comes from --url. ` +
      'Retrying as the vendor does',
  )
}

function showProgress({
  made,
  promised,
  attempts,
  refused,
  dropped,
  timedOut,
  failedConnections,
  cutOff,
  lost,
}: SimulationProgress): void {
  const failed = refused + dropped + timedOut + failedConnections + cutOff
  const line = `${made} made, ${promised} promised, ${attempts} attempts, ${failed} of them failed, ${lost} lost`
  process.stderr.write(process.stderr.isTTY ? `\r\u001b[K${line}` : `${line}\n`)
}

function counts(of: Readonly<Record<string, number>>): string {
  return Object.entries(of)
    .map(([what, count]) => `${what}: ${count}`)
    .join(', ')
}

function summary(progress: SimulationProgress, seconds: number): string {
  const rows: [string, string | number][] = [
    ['events made', progress.made],
    ['promised', progress.promised],
    ['lost', progress.lost],
    ['stopped before an answer', progress.stopped],
    ['promises, with repeats', progress.promises],
    ['repeats', progress.repeats],
    ['attempts', progress.attempts],
    ['answers', counts(progress.statuses) || 'none'],
    ['dropped on purpose', progress.dropped],
    ['timed out', progress.timedOut],
    [
      'failed connections',
      progress.failedConnections > 0 ? `${progress.failedConnections} (${counts(progress.connectionErrors)})` : 0,
    ],
    ['cut off without an answer', progress.cutOff],
    ['events per second', Math.round(progress.promised / seconds)],
  ]
  return rows.map(([name, value]) => `${name.padEnd(26)}${value}\n`).join('')
}
