/** `customer-stream quarantine`: runs one of its subcommands. Each subcommand has its own file. */
import { COMMANDS, readWords } from './commands.ts'

const commands = {
  list: () => import('./quarantine/list.ts'),
  show: () => import('./quarantine/show.ts'),
  redrive: () => import('./quarantine/redrive.ts'),
  drop: () => import('./quarantine/drop.ts'),
}

const usage = `customer-stream quarantine COMMAND [OPTIONS]

  list      lists the records in quarantine (the dead-letter topic)
  show      shows one record: its headers, the problem, and the bytes
  redrive   sends records to the raw topics again
  drop      marks records as handled, without sending them

  customer-stream quarantine COMMAND --help    the options of a command
  redrive and drop change nothing without --execute.
  In this repository: npx customer-stream quarantine COMMAND [OPTIONS]
`

/**
 * Returns the name of the subcommand. If the name is wrong, prints the problem and returns
 * undefined.
 */
const readName = (given: readonly string[]): keyof typeof commands | undefined => {
  try {
    return readWords(COMMANDS.quarantine.words, given)[0]
  } catch (error) {
    process.stderr.write(`quarantine: ${(error as Error).message}\n\n${usage}`)
    return undefined
  }
}

export const run = async ([word, ...args]: readonly string[]): Promise<number> => {
  if (word === '--help' || word === '-h') {
    process.stdout.write(usage)
    return 0
  }
  const name = readName(word === undefined ? [] : [word])
  return name === undefined ? 2 : (await commands[name]()).run(args)
}
