import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const supervisorScript = fileURLToPath(new URL('./supervisor.sh', import.meta.url))

/** Process that ends when its owner ends, even if the owner is killed with SIGKILL. */
export interface SupervisedProcess {
  readonly logFile: string
  /** Process id of the server, not of its supervisor (supervisor.sh). */
  readonly pid: Promise<number>
  /** Exit code of the process. */
  readonly ended: Promise<number>
  hasEnded(): boolean
  /** Ends the process. Resolves when the process has ended. May be called twice. */
  end(): Promise<void>
}

export interface Command {
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Working directory. Default: the working directory of the owner. */
  readonly cwd?: string
  /** File for stdout and stderr. */
  readonly logFile: string
}

export const startSupervised = ({ command, args, env = {}, cwd, logFile }: Command): SupervisedProcess => {
  const log = openSync(logFile, 'a')
  const supervisor = spawn('sh', [supervisorScript, command, ...args], {
    detached: true,
    env: { ...process.env, ...env },
    ...(cwd !== undefined && { cwd }),
    stdio: ['pipe', log, log, 'pipe'],
  })
  closeSync(log)
  const stdin = supervisor.stdin as Writable
  stdin.on('error', () => {}) // Ignore errors, because the supervisor may end before its stdin is closed.

  let hasEnded = false
  const ended = once(supervisor, 'exit').then(([code]) => {
    hasEnded = true
    return (code as number | null) ?? 1
  })
  ended.catch(() => {})
  return {
    logFile,
    pid: text(supervisor.stdio[3] as Readable).then(Number),
    ended,
    hasEnded: () => hasEnded,
    end: async () => {
      stdin.end()
      await ended
    },
  }
}

const lastLines = async (file: string): Promise<string> =>
  (await readFile(file, 'utf8')).trimEnd().split('\n').slice(-20).join('\n')

/**
 * Waits until a server is ready. If the process ends first or is not ready in time, rejects with
 * the last lines of its log.
 */
export const untilReady = async (
  name: string,
  server: SupervisedProcess,
  isReady: () => Promise<boolean>,
  timeoutMs = 60_000,
): Promise<void> => {
  const deadline = performance.now() + timeoutMs
  while (!(await isReady())) {
    const trouble = server.hasEnded()
      ? 'ended at its start'
      : performance.now() > deadline
        ? `was not ready within ${timeoutMs} ms`
        : undefined
    if (trouble) throw new Error(`${name} ${trouble}; its log ends:\n${await lastLines(server.logFile)}`)
    await delay(50)
  }
}

/**
 * Waits until a process that runs one task has ended. If its exit code is not 0, rejects with the
 * last lines of its log.
 */
export const untilExit = async (name: string, work: SupervisedProcess): Promise<void> => {
  const code = await work.ended
  if (code !== 0)
    throw new Error(`${name} failed with exit code ${code}; its log ends:\n${await lastLines(work.logFile)}`)
}
