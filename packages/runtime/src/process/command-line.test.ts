import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { type CommandLine, nearestName, parseCommandLine } from './command-line.ts'
import { SettingsError } from './settings.ts'

const line: CommandLine<string> = {
  name: 'demo',
  usage: 'npm run demo -- [--keep] [--seed N]',
  options: { keep: 'flag', seed: 'text' },
  read: ({ texts, flags }) => {
    if (texts.seed === '0') throw new Error('--seed must be above 0')
    return `${[...flags].join()} ${texts.seed ?? ''}`
  },
}
const parse = (...args: string[]) => parseCommandLine(line, args)

test('the command line reads flags and options with a value', () => {
  expect(parse('--keep', '--seed=7')).toEqual({ kind: 'run', read: 'keep 7' })
  expect(parse()).toEqual({ kind: 'run', read: ' ' })
})

test('`--help` and `-h` print the help, even if other options are wrong', () => {
  for (const args of [['--help'], ['-h'], ['--nonsense', '--help'], ['--seed', '0', '-h']])
    expect(parse(...args)).toEqual({ kind: 'help' })
})

test('an unknown option is reported, with the nearest name if a name is similar', () => {
  expect(parse('--kepe')).toEqual({ kind: 'wrong', problems: ['unknown option --kepe; the nearest is --keep'] })
  expect(parse('-x')).toEqual({ kind: 'wrong', problems: ['unknown option -x'] })
  expect(nearestName('broker', ['brokers', 'minutes'])).toBe('brokers')
})

test('an unknown option and its value are reported as one problem', () => {
  expect(parse('--sead', '7')).toEqual({ kind: 'wrong', problems: ['unknown option --sead; the nearest is --seed'] })
})

test('an option without its value, a flag with a value, and a repeated flag are refused', () => {
  expect(parse('--seed')).toEqual({ kind: 'wrong', problems: ['--seed needs a value'] })
  expect(parse('--seed=')).toEqual({ kind: 'wrong', problems: ['--seed needs a value'] })
  expect(parse('--keep=yes')).toEqual({ kind: 'wrong', problems: ['--keep takes no value'] })
  expect(parse('--keep', '--keep')).toEqual({ kind: 'wrong', problems: ['--keep is given twice'] })
})

test('the command line refuses a word if the command accepts no words', () => {
  expect(parse('now')).toEqual({ kind: 'wrong', problems: ['unexpected "now"'] })
  const taking = { ...line, words: true, read: ({ words }: { words: readonly string[] }) => words.join() }
  expect(parseCommandLine(taking, ['a', '--keep', 'b'])).toEqual({ kind: 'run', read: 'a,b' })
})

test('a problem that the command itself finds is reported like any other problem', () => {
  expect(parse('--seed', '0')).toEqual({ kind: 'wrong', problems: ['--seed must be above 0'] })
})

test('the usage is not printed if only environment variables are wrong', () => {
  const failing = {
    ...line,
    read: () => {
      throw new SettingsError(['PORT: "x" is not accepted'])
    },
  }
  expect(parseCommandLine(failing, [])).toMatchObject({ kind: 'wrong', ofSettings: true })
  expect(parseCommandLine(failing, ['--kepe'])).not.toHaveProperty('ofSettings')
})

test("the first Ctrl-C aborts, npm's copy of the signal is ignored, and the second Ctrl-C ends the process", {
  timeout: 30_000,
}, async () => {
  const module = JSON.stringify(new URL('./command-line.ts', import.meta.url).href)
  const script = `import { listenForInterruption } from ${module}
    let now = 0
    performance.now = () => now
    process.on('SIGUSR2', () => {
      now += 1000
      console.log('a second later')
    })
    listenForInterruption().addEventListener('abort', () => console.log('aborted'))
    setInterval(() => {}, 1000)
    console.log('listening')`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines = child.stdout.setEncoding('utf8')[Symbol.asyncIterator]()
  expect((await lines.next()).value).toBe('listening\n')
  child.kill('SIGINT')
  expect((await lines.next()).value).toBe('aborted\n')
  // Send a second signal immediately, as npm does.
  child.kill('SIGINT')
  child.kill('SIGUSR2')
  expect((await lines.next()).value).toBe('a second later\n')
  expect(child.exitCode).toBe(null)
  child.kill('SIGINT')
  expect(await once(child, 'exit')).toEqual([130, null])
})
