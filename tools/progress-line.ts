const LINE_INTERVAL_MS = 2000

/**
 * Creates a progress line. On a terminal, it is rewritten in place. Elsewhere, a new line is
 * written at most every 2 s.
 */
export const createProgressLine = (stream: NodeJS.WriteStream = process.stderr) => {
  let lastShownAt = Number.NEGATIVE_INFINITY
  let last = ''
  return {
    show: (text: string): void => {
      last = text
      if (stream.isTTY) stream.write(`\r\x1b[2K${text.slice(0, stream.columns - 1)}`)
      else if (performance.now() - lastShownAt >= LINE_INTERVAL_MS) {
        lastShownAt = performance.now()
        stream.write(`${text}\n`)
      }
    },
    /** Removes the line from a terminal, so that other lines can be written. */
    clear: (): void => {
      if (stream.isTTY) stream.write('\r\x1b[2K')
    },
    end: (): void => {
      stream.write(stream.isTTY ? '\n' : `${last}\n`)
    },
  }
}
