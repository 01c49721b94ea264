/** Writes scripts that complete `customer-stream` in a shell, from the table of commands. */
import type { Command } from './commands.ts'

type Commands = Readonly<Record<string, Command>>

const optionsOf = ({ options }: Command): string[] => [...Object.keys(options), 'help'].map((name) => `--${name}`)

/** Returns the options that have a value, with a space before each option. */
const valuedOf = ({ options }: Command): string =>
  Object.entries(options)
    .map(([name, kind]) => (kind === 'text' ? ` --${name}` : ''))
    .join('')

const FIRST_OPTIONS = ['--help', '--version']

/**
 * Returns the branches of a `case` in bash and zsh, one for each command. A branch sets `options`,
 * `choices` (the accepted words, one list for each word) and `valued` (the options that have a
 * value).
 */
const branches = (commands: Commands): string =>
  Object.entries(commands)
    .map(([name, command]) => {
      const choices = (command.words ?? []).map((words) => `'${words.join(' ')}'`)
      return `      ${name})
        options='${optionsOf(command).join(' ')}'
        valued='${valuedOf(command)} '
        choices=(${choices.join(' ')}) ;;`
    })
    .join('\n')

const bash = (commands: Commands): string => `# Completes customer-stream in bash.
# Load it in ~/.bashrc: source <(customer-stream completion bash)
_customer_stream() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]}
  local options='${FIRST_OPTIONS.join(' ')}' valued='' position=0 word i
  local -a choices=('${Object.keys(commands).join(' ')}')
  if ((COMP_CWORD > 1)); then
    case \${COMP_WORDS[1]} in
${branches(commands)}
      *) return ;;
    esac
  fi
  for ((i = 2; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ $valued == *" $word "* ]]; then
      # Skip the value. Bash makes three words of --name=value.
      [[ \${COMP_WORDS[i + 1]} == = ]] && ((i++))
      ((i++))
    elif [[ $word != -* ]]; then
      ((position++))
    fi
  done
  if [[ $previous == = || $valued == *" $previous "* ]]; then
    compopt -o default 2> /dev/null
    COMPREPLY=()
  elif [[ $current == -* || -z \${choices[position]} ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$current"))
  else
    COMPREPLY=($(compgen -W "\${choices[position]}" -- "$current"))
  fi
}
complete -F _customer_stream customer-stream
`

const zsh = (commands: Commands): string => `#compdef customer-stream
# Completes customer-stream in zsh.
# Load it in ~/.zshrc, after compinit: source <(customer-stream completion zsh)
_customer_stream() {
  local current=\${words[CURRENT]} previous=\${words[CURRENT - 1]} given=(\${words[@]})
  local options='${FIRST_OPTIONS.join(' ')}' valued='' position=1 word i
  local -a choices=('${Object.keys(commands).join(' ')}')
  if ((CURRENT > 2)); then
    case \${given[2]} in
${branches(commands)}
      *) return 1 ;;
    esac
  fi
  for ((i = 3; i < CURRENT; i++)); do
    word=\${given[i]}
    if [[ $valued == *" $word "* ]]; then
      ((i++))
    elif [[ $word != -* ]]; then
      ((position++))
    fi
  done
  if [[ $valued == *" $previous "* ]]; then
    _files
  elif [[ $current == -* || -z \${choices[position]} ]]; then
    compadd -- \${=options}
  else
    compadd -- \${=choices[position]}
  fi
}
if [[ $funcstack[1] == _customer_stream ]]; then
  _customer_stream "$@"
else
  compdef _customer_stream customer-stream
fi
`

const fish = (commands: Commands): string => {
  const lines = Object.entries(commands).flatMap(([name, command]) => {
    const seen = `__fish_seen_subcommand_from ${name}`
    const words = (command.words ?? []).flatMap((choices, position, all) => {
      if (choices.length === 0) return []
      const before = all.slice(0, position).map((each) => `; and __fish_seen_subcommand_from ${each.join(' ')}`)
      const condition = `${seen}${before.join('')}; and not __fish_seen_subcommand_from ${choices.join(' ')}`
      return `complete -c customer-stream -n '${condition}' -a '${choices.join(' ')}'`
    })
    const options = Object.entries(command.options).map(
      ([option, kind]) => `complete -c customer-stream -n '${seen}' -l ${option}${kind === 'text' ? ' -r -F' : ''}`,
    )
    return [
      `complete -c customer-stream -n __fish_use_subcommand -a ${name} -d '${command.summary.replaceAll("'", "\\'")}'`,
      ...words,
      ...options,
    ]
  })
  return `# Completes customer-stream in fish.
# Load it in config.fish: customer-stream completion fish | source
complete -c customer-stream -f
complete -c customer-stream -l help
complete -c customer-stream -n __fish_use_subcommand -l version
${lines.join('\n')}
`
}

export const SHELLS = { bash, fish, zsh } as const
