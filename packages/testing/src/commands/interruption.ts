const controller = new AbortController()

// Every further signal changes nothing: npm sends Ctrl-C a second time by itself, and each stop has a deadline of its own.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => controller.abort(new Error(`interrupted by ${signal}`)))

// npm does not pass SIGTERM on: it ends itself and the shell between, and nothing else. So the end of that shell counts as a signal.
if (process.env.npm_lifecycle_event !== undefined) {
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid !== parent) controller.abort(new Error('interrupted by the end of npm'))
  }, 500)
  watch.unref()
}

/** Aborts on Ctrl-C and its like, so that a command can end in order what it has started. */
export const interruption = {
  signal: controller.signal,
  arrived: new Promise<void>((resolve) => controller.signal.addEventListener('abort', () => resolve())),
}

/** A line for people; results alone go to standard output. */
export const tell = (line: string): void => {
  process.stderr.write(`${line}\n`)
}

/** Says why a command ends early. @returns the exit code: 130 after an interruption, as shells have it. */
export const sayWhy = (command: string, error: unknown): number => {
  if (controller.signal.aborted) {
    tell(`\n${command}: interrupted`)
    return 130
  }
  tell(`${command}: ${error instanceof Error ? error.message : String(error)}`)
  return 1
}
