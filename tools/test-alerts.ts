/**
 * `npm run test:alerts`: causes the fault of each alert, and waits until the alert fires and ends.
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { readCommandLine } from '@customer-stream/runtime/command-line'

const folder = fileURLToPath(new URL('../docs/pictures/', import.meta.url))
const { pictures, title } = readCommandLine({
  name: 'test:alerts',
  usage: `npm run test:alerts -- [--pictures] [ROUND]

    --pictures   draws each panel of the dashboard from the data of this run, into docs/pictures
    ROUND        only the faults of the rounds whose title has this text, e.g. "spool"
  Needs Prometheus on the PATH, Java 17 and Maven. A whole run takes about 14 minutes.`,
  options: { pictures: 'flag' },
  words: true,
  read: ({ flags, words }) => ({ pictures: flags.has('pictures'), title: words.join(' ') }),
})
const titled = title === '' ? [] : ['-t', title]
// The command `vitest` is on the PATH, because npm adds the commands of installed packages.
const vitest = spawn('vitest', ['run', '--project', 'alerts', ...titled], {
  stdio: 'inherit',
  env: { ...process.env, ...(pictures && { ALERTS_PICTURES: folder }) },
})
// Pass signals on to vitest, because only Ctrl-C in a terminal reaches both processes.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => vitest.kill(signal))
vitest.on('error', ({ message }) => {
  process.stderr.write(`test:alerts: ${message}\n`)
  process.exitCode = 1
})
vitest.on('exit', (code) => {
  process.exitCode = code ?? 1
})
