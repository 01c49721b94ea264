/**
 * Table of all commands. The help, the shell completion and the parser of each command use this
 * table.
 */
import { type CommandLine, nearestName } from '@customer-stream/runtime/command-line'
import { OPTIONS as quarantineOptions } from './quarantine/options.ts'

export interface Command {
  /** One line of the help. */
  readonly summary: string
  /**
   * Words after the command's name: a list of the accepted words for each position. At a position
   * with an empty list, any text is accepted, e.g. an id.
   */
  readonly words?: readonly (readonly string[])[]
  /**
   * Kinds of the options, with the names of the options (without `--`) as keys. A `text` has a
   * value. A `flag` has no value.
   */
  readonly options: CommandLine<unknown>['options']
}

export const COMMANDS = {
  completion: {
    summary: 'prints a script that completes commands in a shell',
    words: [['bash', 'fish', 'zsh']],
    options: {},
  },
  config: {
    summary: 'checks the settings of a service without starting it',
    words: [['check'], ['ingress', 'projector', 'reader']],
    options: { 'env-file': 'text', json: 'flag' },
  },
  customer: {
    summary: 'shows one customer, or the outcome of each of its events',
    words: [['show', 'history'], []],
    options: { limit: 'text', json: 'flag' },
  },
  drift: {
    summary: 'lists the differences between the events and the documentation',
    options: { clear: 'flag', json: 'flag' },
  },
  erase: {
    summary: 'erases a customer, or shows the remaining data of a customer',
    options: {
      reason: 'text',
      'requested-by': 'text',
      scope: 'text',
      'wait-seconds': 'text',
      status: 'flag',
      json: 'flag',
    },
  },
  quarantine: {
    summary: 'lists, shows, redrives or drops records of quarantine',
    words: [['list', 'show', 'redrive', 'drop']],
    options: {
      ...quarantineOptions.list,
      ...quarantineOptions.show,
      ...quarantineOptions.redrive,
      ...quarantineOptions.drop,
    },
  },
  rebuild: {
    summary: 'shows the progress of a rebuild of Redis, and the next step',
    options: { wait: 'flag', 'delete-old': 'flag', json: 'flag' },
  },
  status: {
    summary: 'shows whether all is well, and what is wrong',
    options: { ingress: 'text', projector: 'text', reader: 'text', 'timeout-seconds': 'text', json: 'flag' },
  },
  topics: {
    summary: 'checks the topics, or creates the missing topics',
    words: [['check', 'create']],
    options: { print: 'flag', json: 'flag' },
  },
  verify: {
    summary: 'compares Redis with Kafka, and repairs wrong customers',
    options: {
      state: 'flag',
      indexes: 'flag',
      ledger: 'text',
      since: 'text',
      until: 'text',
      sample: 'text',
      repair: 'flag',
      execute: 'flag',
      'catch-up-seconds': 'text',
      json: 'flag',
    },
  },
} as const satisfies Readonly<Record<string, Command>>

export type CommandName = keyof typeof COMMANDS

export const isCommand = (name: string): name is CommandName => Object.hasOwn(COMMANDS, name)

const near = (name: string, names: readonly string[]): string => {
  const nearest = nearestName(name, names)
  return nearest === undefined ? '' : `; the nearest is ${nearest}`
}

export const unknownCommand = (name: string): string =>
  name.startsWith('-')
    ? `unknown option ${name}${near(name, ['--help', '--version'])}`
    : `unknown command ${name}${near(name, Object.keys(COMMANDS))}`

type WordsOf<Words extends readonly (readonly string[])[]> = {
  [Position in keyof Words]: Words[Position] extends readonly [] ? string : Words[Position][number]
}

/**
 * Checks the words after the name of a command, and returns them.
 * @param accepted the accepted words, a list for each position. An empty list accepts any text.
 * @param anyText name of the word that accepts any text, if the command has such a word.
 * @throws Error that names each wrong or missing word, with the nearest accepted word.
 */
export const readWords = <const Words extends readonly (readonly string[])[]>(
  accepted: Words,
  given: readonly string[],
  anyText = '',
): WordsOf<Words> => {
  for (const [position, choices] of accepted.entries()) {
    const word = given[position]
    const isAnyText = choices.length === 0
    if (word === undefined)
      throw new Error(isAnyText ? `${anyText} is missing` : `a word is missing: ${choices.join(' or ')}`)
    if (!isAnyText && !choices.includes(word)) throw new Error(`unknown word "${word}"${near(word, choices)}`)
  }
  const more = given.slice(accepted.length)
  if (more.length > 0) throw new Error(`unexpected "${more.join(' ')}"`)
  return given as unknown as WordsOf<Words>
}
