import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const guardScript = fileURLToPath(new URL('./guard.sh', import.meta.url))

/** A process that ends with its owner, however the owner ends. */
export interface GuardedProcess {
  readonly logFile: string
  /** Of the process itself, not of its guard. */
  readonly pid: Promise<number>
  /** Its exit code. */
  readonly ended: Promise<number>
  hasEnded(): boolean
  /** May be called twice; resolves when the process is gone. */
  end(): Promise<void>
}

export interface Command {
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Working directory; the owner's if not given. */
  readonly cwd?: string
  /** Gets stdout and stderr. */
  readonly logFile: string
}

export const startGuarded = ({ command, args, env = {}, cwd, logFile }: Command): GuardedProcess => {
  const log = openSync(logFile, 'a')
  const guard = spawn('sh', [guardScript, command, ...args], {
    detached: true,
    env: { ...process.env, ...env },
    ...(cwd !== undefined && { cwd }),
    stdio: ['pipe', log, log, 'pipe'],
  })
  closeSync(log)
  const stdin = guard.stdin as Writable
  stdin.on('error', () => {}) // the guard may be gone before the end of its input is written

  let hasEnded = false
  const ended = once(guard, 'exit').then(([code]) => {
    hasEnded = true
    return (code as number | null) ?? 1
  })
  ended.catch(() => {})
  return {
    logFile,
    pid: text(guard.stdio[3] as Readable).then(Number),
    ended,
    hasEnded: () => hasEnded,
    end: async () => {
      stdin.end()
      await ended
    },
  }
}

const lastLines = async (file: string): Promise<string> => (await readFile(file, 'utf8')).trimEnd().split('\n').slice(-20).join('\n')

/** Rejects with the end of the log when the process ends first, or is not ready in time. */
export const untilReady = async (
  name: string,
  server: GuardedProcess,
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

/** For a process that does its work and ends. */
export const untilDone = async (name: string, work: GuardedProcess): Promise<void> => {
  const code = await work.ended
  if (code !== 0) throw new Error(`${name} failed with exit code ${code}; its log ends:\n${await lastLines(work.logFile)}`)
}
