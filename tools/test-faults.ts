/**
 * `npm run test:faults`: runs the fault suite on three brokers, and prints the results as a table.
 */
import { spawn } from 'node:child_process'
import { readCommandLine } from '@customer-stream/runtime/command-line'

const { faults, title } = readCommandLine({
  name: 'test:faults',
  usage: `npm run test:faults -- [--short] [FAULT]

    --short    each fault for a shorter time, without upgrades and restored disks
    FAULT      only the faults whose title has this text, e.g. "Redis hung"
  FAULT_SEED repeats the random choices of a run.`,
  options: { short: 'flag' },
  words: true,
  read: ({ flags, words }) => ({ faults: flags.has('short') ? 'short' : 'full', title: words.join(' ') }),
})
const titled = title === '' ? [] : ['-t', title]
// The command `vitest` is on the PATH, because npm adds the commands of installed packages.
const vitest = spawn('vitest', ['run', '--project', 'faults', '--project', 'pressure', ...titled], {
  stdio: 'inherit',
  env: { ...process.env, FAULTS: faults },
})
// Pass signals on to vitest, because only Ctrl-C in a terminal reaches both processes.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => vitest.kill(signal))
vitest.on('error', ({ message }) => {
  process.stderr.write(`test:faults: ${message}\n`)
  process.exitCode = 1
})
vitest.on('exit', (code) => {
  process.exitCode = code ?? 1
})
