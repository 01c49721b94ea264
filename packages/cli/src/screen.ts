/**
 * Output of the demo and of long commands. On a terminal the last line is live: the screen redraws
 * it in place, and writes other lines above it. In a file or pipe each line is plain text, and a
 * progress bar appears four times.
 */
import { styleText } from 'node:util'
import { clipped, fitted, type Step, seconds, stepText } from './layout.ts'

const REDRAW_MS = 100
const PLAIN_COLUMNS = 100
const PLAIN_PARTS = 4
const CLEAR_LINE = '\r\x1b[2K'

export interface LiveLine {
  text(columns: number): string
  /** Share of the work that is done, 0 to 1. Undefined if the share is unknown. */
  share?(): number
}

export interface Screen {
  readonly columns: number
  print(text: string): void
  heading(text: string): void
  step(step: Step): void
  /** Shows a live line until the returned function is called. */
  show(line: LiveLine): () => void
  /**
   * Shows a step while its work runs. Then shows the step with a tick and its duration.
   * @param text text of the finished step.
   */
  during<T>(label: string, doing: string, work: () => Promise<T>, text: (result: T) => string): Promise<T>
  /** Removes the live line, and ends all output. */
  close(): void
}

type Stream = Pick<NodeJS.WriteStream, 'write' | 'isTTY' | 'columns'>

/** Colours marks, bars and times, if the stream and the environment allow colours. */
const paintFor = (stream: NodeJS.WritableStream) => {
  const styled = (style: Parameters<typeof styleText>[0]) => (text: string) => styleText(style, text, { stream })
  return {
    bold: styled('bold'),
    marks: (text: string): string =>
      text
        .replaceAll('✔', styled('green'))
        .replaceAll(/[✘✂]/g, styled('red'))
        .replaceAll(/█+/g, styled('cyan'))
        .replaceAll(/░+/g, styled('dim'))
        .replaceAll(/ [\d.]+ s$/gm, styled('dim')),
  }
}

/** @param env variables that decide whether the last line is live. */
export const createScreen = (
  stream: Stream & NodeJS.WritableStream = process.stdout,
  env: NodeJS.ProcessEnv = process.env,
): Screen => {
  const isLive = stream.isTTY === true && !env.CI && env.TERM !== 'dumb'
  const paint = paintFor(stream)
  const lines: LiveLine[] = []
  let closed = false
  let plainPart = 0
  // Use the default for 0 columns, which some pseudo-terminals report.
  const columns = () => (isLive && stream.columns) || PLAIN_COLUMNS
  const drawn = () => {
    const line = lines.at(-1)
    return isLive && line ? paint.marks(clipped(line.text(columns()), columns())) : ''
  }
  const write = (text: string) => {
    if (!closed) stream.write(`${isLive ? CLEAR_LINE : ''}${text}${drawn()}`)
  }
  const draw = () => {
    const line = lines.at(-1)
    if (!line || closed) return
    if (isLive) return write('')
    const part = Math.floor((line.share?.() ?? 0) * PLAIN_PARTS)
    if (part > plainPart) {
      plainPart = part
      write(`${line.text(columns())}\n`)
    }
  }
  const timer = setInterval(draw, REDRAW_MS)
  timer.unref()

  const screen: Screen = {
    get columns() {
      return columns()
    },
    print: (text) => write(`${paint.marks(fitted(text, stream))}\n`),
    heading: (text) => write(`\n${paint.marks(paint.bold(fitted(text, stream)))}\n`),
    step: (step) => screen.print(stepText(step, columns())),
    show: (line) => {
      lines.push(line)
      plainPart = 0
      draw()
      return () => {
        draw()
        lines.splice(lines.indexOf(line), 1)
        write('')
      }
    },
    during: async (label, doing, work, text) => {
      const startedAt = performance.now()
      const hide = screen.show({
        text: (width) =>
          clipped(`${`· ${label}`.padEnd(12)}${doing}, ${seconds(performance.now() - startedAt)}`, width),
      })
      let result: Awaited<ReturnType<typeof work>>
      try {
        result = await work()
      } finally {
        hide()
      }
      screen.step({ mark: '✔', label, text: text(result), ms: performance.now() - startedAt })
      return result
    },
    close: () => {
      if (isLive && !closed) stream.write(CLEAR_LINE)
      closed = true
      clearInterval(timer)
    },
  }
  return screen
}
