/** The tool that checks rules and metrics of Prometheus. It is not an npm package. */
import { spawnSync } from 'node:child_process'

export const NO_PROMTOOL =
  'promtool is not on the PATH: install Prometheus, for example with apt-get install prometheus'

/** Name of the program. Undefined if it is not installed. */
export const promtool = spawnSync('promtool', ['--version']).status === 0 ? 'promtool' : undefined

// Vitest prints the reason of a skipped test only if the file has a failed test.
if (promtool === undefined) process.stderr.write(`tests are skipped: ${NO_PROMTOOL}\n`)
