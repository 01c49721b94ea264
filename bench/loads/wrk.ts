/** Loads an HTTP port with wrk, because wrk needs only a tenth of the CPU of the server. */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { sign } from '@customer-stream/simulator'

const run = promisify(execFile)

export interface LoadOptions {
  readonly url: string
  readonly connections: number
  readonly seconds: number
  /** Path of a file that {@link writeRequests} has written. */
  readonly requestsFile: string
}

export interface LoadResult {
  /** Number of answers with a status below 400. */
  readonly accepted: number
  readonly refused: number
  /** Number of failed connections and of requests that timed out. */
  readonly failed: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/**
 * Writes a file of signed requests, which wrk sends again and again. Each line has a signature, a
 * tab and a body.
 */
export const writeRequests = async (file: string, bodies: Iterable<string>, secret: string): Promise<void> => {
  await writeFile(file, [...bodies].map((body) => `${sign(body, secret)}\t${body}\n`).join(''))
}

const script = fileURLToPath(new URL('./requests.lua', import.meta.url))

export const requireWrk = async (): Promise<void> => {
  await run('wrk', ['--version']).catch((error: NodeJS.ErrnoException) => {
    // wrk prints its version and exits with 1.
    if (error.code === 'ENOENT')
      throw new Error(
        'wrk is not on the PATH: install it (Debian, Ubuntu: apt-get install wrk; macOS: brew install wrk)',
      )
  })
}

export const load = async ({ url, connections, seconds, requestsFile }: LoadOptions): Promise<LoadResult> => {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script, url, '--', requestsFile]
  const { stdout } = await run('wrk', args)
  const line = stdout.split('\n').find((text) => text.startsWith('{'))
  if (line === undefined) throw new Error(`wrk says:\n${stdout}`)
  return JSON.parse(line) as LoadResult
}
