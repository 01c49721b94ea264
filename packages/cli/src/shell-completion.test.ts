import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { COMMANDS } from './commands.ts'
import { SHELLS } from './shell-completion.ts'

type Shell = keyof typeof SHELLS

/** Programs that load a script from $1 and print the candidates for the words after it. */
const ASK = {
  bash: `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _customer_stream; printf '%s\\n' "\${COMPREPLY[@]}"`,
  fish: 'source $argv[1]; complete -C (string join " " -- $argv[2..])',
  zsh: `compdef() { : }; compadd() { shift; print -l -- "$@" }; _files() { print FILES }
    source "$1"; shift; words=("$@"); CURRENT=$#; _customer_stream`,
}

const isInstalled = (shell: Shell) => spawnSync(shell, ['-c', 'exit 0']).status === 0

/** Returns the candidates of a shell for the last word, which may be empty. */
const candidates = (shell: Shell, words: readonly string[]): string[] => {
  const folder = mkdtempSync(join(tmpdir(), 'completion-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const script = join(folder, 'script')
  writeFileSync(script, SHELLS[shell](COMMANDS))
  const name = shell === 'fish' ? [] : [shell]
  const given = ['-c', ASK[shell], ...name, script, 'customer-stream', ...words]
  // Use another home folder. Otherwise fish would read the configuration of the person who runs the
  // test.
  const { stdout, stderr } = spawnSync(shell, given, { encoding: 'utf8', env: { ...process.env, HOME: folder } })
  expect(stderr).toBe('')
  const last = words.at(-1) ?? ''
  return stdout
    .split('\n')
    .map((line) => line.split('\t')[0] ?? '')
    .filter((line) => line !== '' && line.startsWith(last))
    .sort()
}

const shells: readonly Shell[] = ['bash', 'fish', 'zsh']

describe.each(shells)('in %s', (shell) => {
  const test = it.skipIf(!isInstalled(shell)) // skipped if the machine lacks this shell

  test('the shell completes the first word to the name of a command', () => {
    expect(candidates(shell, [''])).toEqual(expect.arrayContaining(Object.keys(COMMANDS).sort()))
    expect(candidates(shell, ['ver'])).toEqual(['verify'])
  })

  test('after a command, the shell offers only words that may follow the earlier words', () => {
    expect(candidates(shell, ['topics', ''])).toEqual(['check', 'create'])
    expect(candidates(shell, ['config', ''])).toEqual(['check'])
    expect(candidates(shell, ['config', 'check', ''])).toEqual(['ingress', 'projector', 'reader'])
    expect(candidates(shell, ['config', 'check', 'p'])).toEqual(['projector'])
    expect(candidates(shell, ['config', '--json', 'check', 'p'])).toEqual(['projector'])
  })

  test.each(Object.entries(COMMANDS))('the shell completes the options of the command %s', (name, { options }) => {
    const expected = [...Object.keys(options), 'help'].map((option) => `--${option}`)
    expect(candidates(shell, [name, '--'])).toEqual(expected.sort())
  })

  test('the shell completes nothing after an unknown command', () => {
    expect(candidates(shell, ['nothing', 't'])).toEqual([])
  })
})

it('bash does not count the value of an option as a word of the command', () => {
  expect(candidates('bash', ['config', '--env-file', 'x', ''])).toEqual(['check'])
  expect(candidates('bash', ['config', '--env-file', '=', 'x', ''])).toEqual(['check'])
  expect(candidates('bash', ['config', '--env-file', ''])).toEqual([])
})
