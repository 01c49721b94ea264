/**
 * `npm run test:fuzz`: sends arbitrary and changed events to the functions that read them, and
 * generated requests to a running ingress and a running reader.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { printNotice } from '@customer-stream/cli/interruption'
import { readCommandLine } from '@customer-stream/runtime/command-line'

const VERSION = '4.32.5'
const environment = fileURLToPath(new URL(`../.data/schemathesis-${VERSION}`, import.meta.url))
const schemathesis = join(environment, 'bin', 'schemathesis')

const seconds = readCommandLine({
  name: 'test:fuzz',
  usage: `npm run test:fuzz -- [--seconds N]

  Sends arbitrary and changed events to the functions that read them (fast-check), and generated
  requests to a running ingress and a running reader (Schemathesis ${VERSION}, which needs Python
  and PyPI the first time).
  --seconds N   time for the functions, for the ingress, and for the reader (default 60)`,
  options: { seconds: 'text' },
  read: ({ texts: { seconds: given = '60' } }) => {
    if (!/^[1-9]\d{0,5}$/.test(given)) throw new Error(`--seconds must be a number above 0, not ${given}`)
    return given
  },
})

const run = (command: string, words: readonly string[]): string | undefined => {
  const { status, error, stderr } = spawnSync(command, words, { encoding: 'utf8', timeout: 600_000 })
  if (status === 0) return undefined
  return error?.message ?? stderr.trim().split('\n').at(-1) ?? `exit code ${status}`
}

/** Installs Schemathesis if it is missing. If the installation fails, returns the reason. */
const install = (): string | undefined => {
  if (existsSync(schemathesis)) return undefined
  printNotice(`test:fuzz: installing Schemathesis ${VERSION} into .data`)
  return (
    run('python3', ['-m', 'venv', environment]) ??
    run(join(environment, 'bin', 'pip'), ['install', '--quiet', `schemathesis==${VERSION}`])
  )
}

const problem = install()
if (problem !== undefined)
  printNotice(`test:fuzz: ingress and reader get no generated requests, because Schemathesis is missing: ${problem}`)

const vitest = spawn('vitest', ['run', '--project', 'fuzz'], {
  stdio: 'inherit',
  env: {
    ...process.env,
    FUZZ_SECONDS: seconds,
    ...(problem === undefined && { SCHEMATHESIS: schemathesis }),
  },
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => vitest.kill(signal))
vitest.on('error', ({ message }) => {
  printNotice(`test:fuzz: ${message}`)
  process.exitCode = 1
})
vitest.on('exit', (code) => {
  process.exitCode = code ?? 1
})
