/** Prometheus and its tool promtool, which are not npm packages. */
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const ifInstalled = (program: string) => (spawnSync(program, ['--version']).status === 0 ? program : undefined)

/** Name of each program. Undefined if it is not installed. */
export const promtool = ifInstalled('promtool')
export const prometheus = ifInstalled('prometheus')

export const NO_PROMETHEUS =
  'prometheus or promtool is not on the PATH: install Prometheus, for example with apt-get install prometheus'

// Vitest prints the reason of a skipped test only if the file has a failed test.
if (promtool === undefined || prometheus === undefined) process.stderr.write(`tests are skipped: ${NO_PROMETHEUS}\n`)

/**
 * Runs promtool in the root folder. Resolves with `accepted`, or with its complaints. Promtool
 * collects garbage less often than by default, because that takes a quarter of its CPU time.
 */
export const runPromtool = (args: readonly string[], input = ''): Promise<string> =>
  new Promise((resolve) => {
    const options = { cwd: root, env: { ...process.env, GOGC: '400' } }
    const child = execFile(promtool ?? 'promtool', args, options, (_, stdout, stderr) =>
      resolve(child.exitCode === 0 ? 'accepted' : stdout + stderr),
    )
    child.stdin?.end(input)
  })
