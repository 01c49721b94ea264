/** `customer-stream completion`: prints a script for the completion of commands in a shell. */
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { COMMANDS, readWords } from './commands.ts'
import { SHELLS } from './shell-completion.ts'

const line = {
  name: 'completion',
  usage: `customer-stream completion (bash | fish | zsh)

  Prints a script that completes commands, words and options. To load it:
  bash, in ~/.bashrc:      source <(customer-stream completion bash)
  zsh, in ~/.zshrc:        source <(customer-stream completion zsh)
  fish, in config.fish:    customer-stream completion fish | source`,
  options: COMMANDS.completion.options,
  words: true,
  read: ({ words }) => readWords(COMMANDS.completion.words, words)[0],
} satisfies CommandLine<unknown>

export const run = async (args: readonly string[]): Promise<number> => {
  process.stdout.write(SHELLS[readCommandLine(line, args)](COMMANDS))
  return 0
}
