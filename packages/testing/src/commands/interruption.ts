import { listenForInterruption } from '@customer-stream/simulator/command-line'

const signal = listenForInterruption()

/** Aborts on Ctrl-C and its like, so that a command can end in order what it has started. */
export const interruption = {
  signal,
  /** Resolves also when asked for after the interruption. */
  arrived: new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve())),
}

/** A line for people; results alone go to standard output. */
export const tell = (line: string): void => {
  process.stderr.write(`${line}\n`)
}

/** Says why a command ends early. @returns the exit code: 130 after an interruption, as shells have it. */
export const sayWhy = (command: string, error: unknown): number => {
  if (signal.aborted) {
    tell(`\n${command}: interrupted`)
    return 130
  }
  tell(`${command}: ${error instanceof Error ? error.message : String(error)}`)
  return 1
}
