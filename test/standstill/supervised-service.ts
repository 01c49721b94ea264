import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ServiceName, type ServiceProcess, startService } from '@customer-stream/testing'

type Env = Readonly<Record<string, string>>

/** The readiness of a service, as an operator sees it. */
export interface Readiness {
  readonly ready: boolean
  /** Details of the failed checks. If the process has ended, the last lines of its log. */
  readonly said: string
}

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** A service whose process is restarted when it ends, as a supervisor does in production. */
export interface SupervisedService {
  readonly name: ServiceName
  /** Number of processes that ended without a `stop`. */
  readonly ended: number
  /** Public address. Empty while no process runs. */
  readonly url: string
  readiness(): Promise<Readiness>
  /** Returns the metrics. Empty while no process runs. */
  metrics(): Promise<readonly Sample[]>
  log(): Promise<string>
  /** Stops the service with SIGTERM, until `start` is called. */
  stop(): Promise<void>
  /** Changes settings for the next process. Other settings are kept. */
  configure(changes: Env): void
  /** Restores the original settings for the next process. */
  correct(): void
  /** Resolves when the first process listens or has ended. */
  start(): Promise<void>
}

const RESTART_PAUSE_MS = 1000

interface Check {
  readonly name: string
  readonly ready: boolean
  readonly detail?: string
}

interface LogLine {
  readonly msg?: unknown
  readonly level?: unknown
  readonly err?: { readonly message?: string }
}

/**
 * Returns the last error messages in the log of an ended process, or its last lines of plain text.
 */
const lastErrors = (log: string): string => {
  const words = log
    .trimEnd()
    .split('\n')
    .slice(-20)
    .map((line) => {
      try {
        const { msg, err } = JSON.parse(line) as LogLine
        return [msg, err?.message].filter((text) => typeof text === 'string').join(': ')
      } catch {
        return line
      }
    })
  return `ended: ${words.slice(-8).join(' | ')}`
}

const parseMetrics = (text: string): Sample[] =>
  text.split('\n').flatMap((line) => {
    const [, name, labelText = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    if (name === undefined) return []
    const labels = Object.fromEntries(
      [...labelText.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, of]) => [label, of]),
    )
    return [{ name, labels, value: Number(value) }]
  })

/** Returns undefined if no process runs, or if the process ends before its whole answer. */
const ask = async (url: string) => {
  try {
    const answer = await fetch(url)
    return { status: answer.status, text: await answer.text() }
  } catch {
    return undefined
  }
}

const askReadiness = async (adminUrl: string | undefined, endedLogFile: string): Promise<Readiness> => {
  const answer = await ask(`${adminUrl}/readyz`)
  if (!answer) return { ready: false, said: lastErrors(await readFile(endedLogFile, 'utf8').catch(() => '')) }
  const { text } = answer
  const { checks } = JSON.parse(text) as { readonly checks?: readonly Check[] }
  if (!checks) return { ready: false, said: text }
  const said = checks.flatMap((check) => (check.ready ? [] : [`${check.name}: ${check.detail ?? ''}`])).join(' | ')
  return { ready: answer.status === 200, said }
}

export const superviseService = (name: ServiceName, env: Env, folder: string): SupervisedService => {
  let settings = env
  let wanted = false
  let ended = 0
  let starts = 0
  let running: ServiceProcess | undefined
  let logFile = ''
  let endedLogFile = ''
  let loop: Promise<void> = Promise.resolve()

  const runOnce = async (): Promise<void> => {
    starts += 1
    logFile = join(folder, `${name}-${starts}.log`)
    try {
      running = await startService(name, settings, logFile)
      if (!wanted) await running.end()
      await running.ended
    } catch {
      // The process ended before it listened. `readiness` reads the reason from its log.
    }
    running = undefined
    endedLogFile = logFile
  }
  const supervise = async (): Promise<void> => {
    while (wanted) {
      await runOnce()
      if (!wanted) return
      ended += 1
      await sleep(RESTART_PAUSE_MS)
    }
  }
  return {
    name,
    get ended() {
      return ended
    },
    get url() {
      return running?.url ?? ''
    },
    log: () => readFile(logFile, 'utf8'),
    readiness: () => askReadiness(running?.adminUrl, endedLogFile),
    metrics: async () => {
      const answer = await ask(`${running?.adminUrl}/metrics`)
      return answer ? parseMetrics(answer.text) : []
    },
    stop: async () => {
      wanted = false
      await running?.end()
      await loop
    },
    configure: (changes) => {
      settings = { ...settings, ...changes }
    },
    correct: () => {
      settings = env
    },
    start: async () => {
      wanted = true
      const before = ended
      loop = supervise()
      while (running === undefined && ended === before) await sleep(20)
    },
  }
}
