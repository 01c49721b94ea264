import { listenForInterruption } from '@customer-stream/runtime/command-line'
import { fitted } from './layout.ts'
import { printable } from './terminal-text.ts'

const signal = listenForInterruption()

/**
 * Interruption by Ctrl-C or a similar signal. The command then stops its own clients and processes.
 */
export const interruption = {
  signal,
  /** Resolves after the interruption. Also resolves if the interruption came before the wait. */
  arrived: new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve())),
}

/** Writes lines for people to standard error, because standard output has only results. */
export const printNotice = (text: string): void => {
  process.stderr.write(`${fitted(text.split('\n').map(printable).join('\n'), process.stderr)}\n`)
}

/**
 * Reports why a command ends early.
 * @returns the exit code: 130 after an interruption, as in shells, otherwise 1.
 */
export const reportFailure = (command: string, error: unknown): number => {
  if (signal.aborted) {
    printNotice(`\n${command}: interrupted`)
    return 130
  }
  printNotice(`${command}: ${error instanceof Error ? error.message : String(error)}`)
  return 1
}
