import { execFile, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { runCommandLine } from './fixtures/run-command-line.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const { scripts } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { scripts: Record<string, string> }
const commands = {
  customer: '--jsn',
  demo: '--keeep',
  dev: '--help-me',
  erase: '--reasn',
  rebuild: '--wiat',
  stack: '--broker',
  status: '--ingres',
  simulate: '--evnts',
  release: '--dry',
  verify: '--legder',
  soak: '--minute',
  'test:fuzz': '--second',
  'pictures:console': '--second',
  bench: '--scael',
}

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs the command of a script in package.json, without npm. */
const run = (name: string, options: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Ended> =>
  new Promise((resolve) => {
    const [, ...args] = (scripts[name] ?? '').split(' ')
    const child = execFile(
      process.execPath,
      [...args, ...options],
      { cwd: root, env, timeout: 30_000 },
      (_, stdout, stderr) => resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })

it.each(Object.entries(commands))(
  'npm run %s exits with 0 after --help, and with 2 after %s',
  { timeout: 60_000 },
  async (name, misspelt) => {
    const [node, condition, file = '', ...words] = (scripts[name] ?? '').split(' ')
    expect([node, condition]).toEqual(['node', '--conditions=customer-stream-source'])
    const program = file.replace('cli/start.js', 'cli/src/main.ts')
    const runWith = (option: string) => runCommandLine({ file: program, words: [...words, option], env: process.env })
    const [help, wrong] = [await runWith('--help'), await runWith(misspelt)]
    expect(help).toMatchObject({ code: 0, stderr: '' })
    expect(help.stdout).toContain(`npm run ${name}`)
    expect(wrong).toMatchObject({ code: 2, stdout: '' })
    expect(wrong.stderr).toMatch(
      new RegExp(
        `\n\n${name}: unknown option ${misspelt}${/help|nothing|dry/.test(misspelt) ? '' : '; the nearest is --.+'}\n`,
      ),
    )
    expect(wrong.stderr).toContain(`npm run ${name}`)
  },
)

it.each([
  ['verify', []],
  ['erase', ['CUSTOMER-UUID', '--status']],
  ['demo', []],
  ['stack', []],
])(
  'npm run %s names the address, the cause and the setting of an unreachable server',
  {
    timeout: 60_000,
  },
  async (name, options) => {
    const nobody = { KAFKA_BROKERS: '127.0.0.1:1', REDIS_URL: 'redis://127.0.0.1:1', CUSTOMER_STREAM_BROKERS: '' }
    const { code, stderr } = await run(name, options, { ...process.env, ...nobody })
    const said =
      'Kafka cannot be reached at 127.0.0.1:1 (ECONNREFUSED). The address comes from KAFKA_BROKERS: start the server'
    expect([code, stderr]).toEqual([1, expect.stringContaining(said)])
  },
)

it('npm run verify treats an unreadable ledger as wrong usage, and prints the reason', {
  timeout: 60_000,
}, async () => {
  const nobody = { KAFKA_BROKERS: '127.0.0.1:1', REDIS_URL: 'redis://127.0.0.1:1' }
  const { code, stderr } = await run('verify', ['--ledger', '/no-such-file'], { ...process.env, ...nobody })
  expect([code, stderr]).toEqual([2, expect.stringContaining('verify: --ledger cannot be read: ENOENT')])
})

it('npm run simulate names the address, the cause and the option of an unreachable ingress', {
  timeout: 60_000,
}, async () => {
  const options = '--url http://127.0.0.1:1/webhooks/mykaarma --events 1 --customers 1 --secret s --token t'.split(' ')
  const [, ...args] = (scripts.simulate ?? '').split(' ')
  const child = spawn(process.execPath, [...args, ...options], { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  let said = ''
  for await (const text of child.stderr.setEncoding('utf8')) {
    said += text
    if (said.includes('ECONNREFUSED')) break
  }
  expect(said).toContain('simulate: no connection to 127.0.0.1:1 (ECONNREFUSED). The address comes from --url.')
})

it('the error of npm run stack names the container engine that does not answer', { timeout: 60_000 }, async () => {
  const socket = join(tmpdir(), 'no-engine.sock')
  const docker = { DOCKER_HOST: `unix://${socket}`, CUSTOMER_STREAM_BROKERS: 'docker' }
  const { code, stderr } = await run('stack', [], { ...process.env, ...docker })
  expect([code, stderr]).toEqual([
    1,
    expect.stringContaining(`no container engine answers at DOCKER_HOST=unix://${socket} (ENOENT)`),
  ])
})
