/**
 * Text for a terminal of any width. Only `folded` handles characters that need two columns, for
 * example in a customer's name. The callers of the other functions pass only characters of one
 * column.
 */
export const number = (value: number): string => value.toLocaleString('en-US')

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

/** Width of the mark and the label in front of each text. */
const LABEL_COLUMNS = 12
const TIME_COLUMNS = 8
/** Maximum width of a line, so that a time stays near its text on a wide terminal. */
const MAX_COLUMNS = 88

/**
 * Returns the usable width. The last column stays empty, because on some terminals a full line
 * moves the cursor down.
 */
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

/** Characters of East Asia and emoji take two columns. Combining marks take none. */
const EAST_ASIA =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/u
const RARE_OR_EMOJI = /[\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u
const MARK = /\p{Mn}|\p{Me}/u

const isWide = (character: string): boolean => EAST_ASIA.test(character) || RARE_OR_EMOJI.test(character)
const characterColumns = (character: string): number => (isWide(character) ? 2 : MARK.test(character) ? 0 : 1)

/** Returns the number of columns that a terminal needs for a text of one line. */
export const columnsOf = (text: string): number => {
  // Most texts are printable ASCII.
  if (/^[ -~]*$/.test(text)) return text.length
  return [...text].reduce((sum, character) => sum + characterColumns(character), 0)
}

/** Splits a word into pieces of at most `width` columns. */
const pieces = (word: string, width: number): string[] => {
  const found = ['']
  let used = 0
  for (const character of word) {
    const columns = characterColumns(character)
    if (used > 0 && used + columns > width) {
      found.push('')
      used = 0
    }
    found[found.length - 1] += character
    used += columns
  }
  return found
}

/**
 * Returns the indent for the rest of a folded line. In a table this is the start of the second
 * column. In other text it is the line's own indent plus two spaces.
 */
const hangingIndent = (line: string, columns: number): number => {
  const [before = ''] = /^ *\S+(?: \S+)* {2,}/.exec(line) ?? []
  const own = line.length - line.trimStart().length
  const second = columnsOf(before)
  return Math.min(second > 0 && second <= columns / 2 ? second : own + 2, Math.floor(columns / 2))
}

const foldedLine = (line: string, columns: number): string[] => {
  if (columnsOf(line) <= columns) return [line]
  const indent = ' '.repeat(hangingIndent(line, columns))
  const lines: string[] = []
  let current = /^ */.exec(line)?.[0].slice(0, Math.floor(columns / 2)) ?? ''
  let isEmpty = true
  for (const [, gap = '', word = ''] of line.trimStart().matchAll(/( *)(\S+)/g)) {
    if (!isEmpty && columnsOf(current + gap + word) > columns) {
      lines.push(current)
      current = indent
      isEmpty = true
    }
    const [first = '', ...others] = pieces(word, columns - columnsOf(current) - (isEmpty ? 0 : gap.length))
    current += (isEmpty ? '' : gap) + first
    isEmpty = false
    for (const piece of others.flatMap((other) => pieces(other, columns - indent.length))) {
      lines.push(current)
      current = indent + piece
    }
  }
  return [...lines, current]
}

/** Splits each line that is wider than the terminal. Cuts nothing off. */
export const folded = (text: string, columns: number): string =>
  columns === Number.POSITIVE_INFINITY
    ? text
    : text
        .split('\n')
        .flatMap((line) => foldedLine(line, columns))
        .join('\n')

/** Folds a text for a terminal. A file or a pipe gets the text as it is. */
export const fitted = (text: string, { isTTY, columns }: { isTTY?: boolean; columns?: number }): string =>
  // Some pseudo-terminals report 0 columns.
  isTTY && columns ? folded(text, columns) : text

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
 * Returns a progress bar of one line. On a narrow terminal the bar gets shorter. If a bar of 8
 * characters does not fit, the line first loses the tail, then the time left, then the rate.
 */
export const barText = (
  { label, done, total, perSecond, secondsLeft, tail = '' }: BarState,
  columns: number,
): string => {
  const share = Math.min(1, total > 0 ? done / total : 1)
  const left = share === 1 ? '0' : secondsLeft === undefined ? '?' : String(Math.ceil(secondsLeft))
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
