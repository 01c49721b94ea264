/** Text for a terminal of any width. All characters are one column wide. */
export const number = (value: number): string => value.toLocaleString('en-US')

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

/** Width of the mark and the label in front of each text. */
const LABEL_COLUMNS = 12
const TIME_COLUMNS = 8
/** Maximum width of a line, so that a time stays near its text on a wide terminal. */
const MAX_COLUMNS = 88

/** Returns the usable width. On some terminals a full line would move the cursor down. */
export const widthOf = (columns: number): number => Math.min(columns - 1, MAX_COLUMNS)

/** Shortens a text to one line. */
export const clipped = (text: string, columns: number): string =>
  text.length < columns ? text : `${text.slice(0, Math.max(0, columns - 2))}…`

/** Splits a text into lines at its spaces. A word longer than `width` gets its own line. */
export const wrapped = (text: string, width: number): string[] => {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}

const labelled = (mark: string, label: string): string => `${mark} ${label}`.padEnd(LABEL_COLUMNS)

export interface Step {
  /** One character. */
  readonly mark: string
  readonly label: string
  readonly text: string
  readonly ms?: number
}

/** Returns the line of a step: mark, label, text, and the step's time at the right. */
export const stepText = ({ mark, label, text, ms }: Step, columns: number): string => {
  const width = widthOf(columns) - LABEL_COLUMNS - TIME_COLUMNS
  const [first = '', ...others] = wrapped(text, width)
  const time = ms === undefined ? '' : seconds(ms).padStart(TIME_COLUMNS)
  const lines = [`${labelled(mark, label)}${time === '' ? first : first.padEnd(width)}${time}`]
  return [...lines, ...others.map((line) => ' '.repeat(LABEL_COLUMNS) + line)].join('\n')
}

export interface BarState {
  readonly label: string
  readonly done: number
  readonly total: number
  readonly perSecond: number
  /** Undefined if the time cannot be estimated yet. */
  readonly secondsLeft: number | undefined
  /** Text at the end of the line. A narrow terminal does not show it. */
  readonly tail?: string
}

const MIN_BAR = 8
const MAX_BAR = 40

/**
 * Returns a progress bar of one line. On a narrow terminal the bar gets shorter. After that the
 * tail is left out, then the time left, then the rate.
 */
export const barText = (
  { label, done, total, perSecond, secondsLeft, tail = '' }: BarState,
  columns: number,
): string => {
  const share = Math.min(1, total > 0 ? done / total : 1)
  const left = secondsLeft === undefined ? '?' : String(Math.ceil(secondsLeft))
  const texts = [
    `${Math.floor(share * 100)} %`.padStart(6),
    `${number(Math.round(perSecond))}/s`.padStart(9),
    `${left} s left`.padStart(12),
    ...(tail === '' ? [] : [`  ${tail}`]),
  ]
  const start = labelled(' ', label)
  const room = () => columns - 1 - start.length - texts.join('').length
  while (room() < MIN_BAR && texts.length > 1) texts.pop()
  const bar = Math.max(0, Math.min(MAX_BAR, room()))
  const filled = Math.floor(bar * share)
  return clipped(`${start}${'█'.repeat(filled)}${'░'.repeat(bar - filled)}${texts.join('')}`, columns)
}
