import { parseArguments, USAGE } from './arguments.ts'
import { createSimulation, type SimulationProgress } from './simulate.ts'

const parsed = parseArguments(process.argv.slice(2))
if (parsed.kind === 'help') {
  process.stdout.write(USAGE)
} else if (parsed.kind === 'faults') {
  process.stderr.write(`${parsed.faults.map((fault) => `simulate: ${fault}\n`).join('')}\n${USAGE}`)
  process.exitCode = 2
} else {
  const stop = new AbortController()
  // Only the first one: a second Ctrl-C ends the process at once.
  process.once('SIGINT', () => stop.abort()).once('SIGTERM', () => stop.abort())
  const simulation = createSimulation({ ...parsed.options, signal: stop.signal })
  process.stderr.write(`repeat this run with --seed ${simulation.seed} --newest-timestamp ${simulation.newestTimestamp}\n`)
  const startedAt = performance.now()
  const shown = setInterval(showProgress, process.stderr.isTTY ? 250 : 5000, simulation.progress)
  try {
    const progress = await simulation.run()
    if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
    process.stdout.write(summary(progress, (performance.now() - startedAt) / 1000))
    process.exitCode = progress.lost > 0 ? 1 : 0
  } catch (error) {
    process.stderr.write(`simulate: ${error instanceof Error ? error.message : error}\n`)
    process.exitCode = 1
  } finally {
    clearInterval(shown)
  }
}

function showProgress({ made, promised, attempts, refused, dropped, timedOut, failedConnections, cutOff, lost }: SimulationProgress): void {
  const failed = refused + dropped + timedOut + failedConnections + cutOff
  const line = `${made} made, ${promised} promised, ${attempts} attempts, ${failed} of them failed, ${lost} lost`
  process.stderr.write(process.stderr.isTTY ? `\r\u001b[K${line}` : `${line}\n`)
}

function summary(progress: SimulationProgress, seconds: number): string {
  const statuses = Object.entries(progress.statuses).map(([status, count]) => `${status}: ${count}`)
  const rows: [string, string | number][] = [
    ['events made', progress.made],
    ['promised', progress.promised],
    ['lost', progress.lost],
    ['stopped before an answer', progress.stopped],
    ['promises, with repeats', progress.promises],
    ['repeats', progress.repeats],
    ['attempts', progress.attempts],
    ['answers', statuses.join(', ') || 'none'],
    ['dropped on purpose', progress.dropped],
    ['timed out', progress.timedOut],
    ['failed connections', progress.failedConnections],
    ['cut off without an answer', progress.cutOff],
    ['events per second', Math.round(progress.promised / seconds)],
  ]
  return rows.map(([name, value]) => `${name.padEnd(26)}${value}\n`).join('')
}
