/** Reads the options and handles Ctrl-C, for all commands of this repository. */
import { parseArgs } from 'node:util'
import { distance } from 'fastest-levenshtein'

export interface CommandLine<Read> {
  readonly name: string
  /** Text of `--help`, also printed above a list of problems. */
  readonly usage: string
  /** A `text` has a value, a `flag` has no value. */
  readonly options: Readonly<Record<string, 'text' | 'flag'>>
  /** True if words without `--` are allowed. */
  readonly words?: boolean
  /**
   * Converts the options to the command's input. Adds each problem to `problems`. The message of an
   * error that this function throws is one more problem.
   */
  readonly read: (given: Given, problems: string[]) => Read
}

export interface Given {
  readonly texts: Readonly<Record<string, string>>
  readonly flags: ReadonlySet<string>
  readonly words: readonly string[]
}

export type Parsed<Read> =
  | { readonly kind: 'run'; readonly read: Read }
  | { readonly kind: 'help' }
  /** `ofSettings`: only environment variables are wrong, so the usage would not help. */
  | { readonly kind: 'wrong'; readonly problems: readonly string[]; readonly ofSettings?: boolean }

/** Returns the most similar name, or undefined if no name is similar. */
export const nearestName = (name: string, names: readonly string[]): string | undefined => {
  const near = names.map((other) => ({ other, steps: distance(name, other) })).sort((a, b) => a.steps - b.steps)[0]
  return near && near.steps <= Math.ceil(name.length / 2) ? near.other : undefined
}

const unknownOption = (rawName: string, name: string, names: readonly string[]): string => {
  const nearest = nearestName(name, names)
  return `unknown option ${rawName}${nearest === undefined ? '' : `; the nearest is --${nearest}`}`
}

/** Reads a command line without side effects. Reports all problems together. */
export const parseCommandLine = <Read>(
  { options, words: wordsAllowed = false, read }: CommandLine<Read>,
  args: readonly string[],
): Parsed<Read> => {
  const names = Object.keys(options)
  const types = Object.entries(options).map(
    ([name, kind]) => [name, { type: kind === 'text' ? 'string' : 'boolean' }] as const,
  )
  const { tokens } = parseArgs({ args: [...args], strict: false, tokens: true, options: Object.fromEntries(types) })
  const problems: string[] = []
  const texts: Record<string, string> = {}
  const flags = new Set<string>()
  const words: string[] = []
  for (const [nth, token] of tokens.entries()) {
    const before = tokens[nth - 1]
    const isValueOfUnknown = before?.kind === 'option' && !names.includes(before.name)
    if (token.kind === 'positional') {
      if (wordsAllowed) words.push(token.value)
      else if (!isValueOfUnknown) problems.push(`unexpected "${token.value}"`)
    }
    if (token.kind !== 'option') continue
    const { name, rawName, value, inlineValue } = token
    if (name === 'help' || name === 'h') return { kind: 'help' }
    if (!names.includes(name)) problems.push(unknownOption(rawName, name, names))
    else if (name in texts || flags.has(name)) problems.push(`--${name} is given twice`)
    else if (options[name] === 'flag' && value !== undefined) problems.push(`--${name} takes no value`)
    else if (options[name] === 'text' && (!value || (!inlineValue && value.startsWith('--'))))
      problems.push(`--${name} needs a value`)
    if (options[name] === 'flag') flags.add(name)
    else texts[name] = value ?? ''
  }
  try {
    const made = read({ texts, flags, words }, problems)
    return problems.length > 0 ? { kind: 'wrong', problems } : { kind: 'run', read: made }
  } catch (error) {
    const { name, message } = error as Error
    const ofSettings = problems.length === 0 && name === 'SettingsError'
    return { kind: 'wrong', problems: [...problems, message], ...(ofSettings && { ofSettings }) }
  }
}

/**
 * Reads the options. Ends the process with code 0 after `--help`, and with 2 if an option is wrong.
 * @param args default: the words after the name of the program.
 */
export const readCommandLine = <Read>(
  line: CommandLine<Read>,
  args = process.argv.slice(2) as readonly string[],
): Read => {
  const parsed = parseCommandLine(line, args)
  if (parsed.kind === 'run') return parsed.read
  if (parsed.kind === 'help') {
    process.stdout.write(`${line.usage.trimEnd()}\n`)
    process.exit(0)
  }
  const said = parsed.problems.map((problem) => `${line.name}: ${problem}\n`).join('')
  // Print the problems last. Problems above a long usage text could scroll out of a small terminal.
  process.stderr.write(parsed.ofSettings ? said : `${line.usage.trimEnd()}\n\n${said}`)
  process.exit(2)
}

/**
 * A terminal sends Ctrl-C to npm and to this process, and npm repeats the signal within
 * milliseconds. A signal that comes more than this time after the first signal is a second Ctrl-C
 * of a person.
 */
export const SAME_SIGNAL_MS = 500

/**
 * Returns a signal that aborts on Ctrl-C, SIGTERM and SIGHUP. The command must then stop its
 * servers. A second Ctrl-C ends the process immediately. The servers end too, because each has a
 * supervisor (supervisor.sh).
 */
export const listenForInterruption = (): AbortSignal => {
  const controller = new AbortController()
  let firstAt: number | undefined
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      if (firstAt !== undefined && performance.now() - firstAt > SAME_SIGNAL_MS) process.exit(130)
      firstAt ??= performance.now()
      controller.abort(new Error(`interrupted by ${signal}`))
    })

  // Treat the end of the parent shell as a signal. On SIGTERM npm ends itself and that shell, but
  // sends no signal to this process.
  if (process.env.npm_lifecycle_event !== undefined) {
    const parent = process.ppid
    const watch = setInterval(() => {
      if (process.ppid !== parent) controller.abort(new Error('interrupted by the end of npm'))
    }, 500)
    watch.unref()
  }
  return controller.signal
}
