import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { createAuthority } from '@customer-stream/testing/certificates'
import { describe, expect, it, onTestFinished } from 'vitest'
import { COMMANDS, type Command } from '../packages/cli/src/commands.ts'
import { runCommandLine } from './fixtures/run-command-line.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const program = ['--conditions=customer-stream-source', '--', 'packages/cli/start.js']
const timeout = 60_000

interface Ended {
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

const { PATH, NODE_COMPILE_CACHE } = process.env
/** Environment without settings. NODE_COMPILE_CACHE halves the CPU time of a command. */
const essentials = { PATH, NODE_COMPILE_CACHE }

/** Runs the command. By default the command has no settings, so that it can connect to nothing. */
const run = (words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  new Promise((resolve) => {
    const options = { cwd: root, env: { ...essentials, ...env }, timeout: 30_000 }
    execFile(process.execPath, [...program, ...words], options, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, stdout, stderr }),
    )
  })

/**
 * Runs the command in a process that is used for several commands. A new process would need more
 * CPU time.
 */
const runInShared = (words: readonly string[], env: NodeJS.ProcessEnv = {}, columns?: number) =>
  runCommandLine({ file: 'packages/cli/src/main.ts', words, env, columns })

const runAll = async (lines: readonly (readonly string[])[]): Promise<readonly Ended[]> => {
  const ended = []
  for (const words of lines) ended.push(await runInShared(words))
  return ended
}

const commands: [string, Command][] = Object.entries(COMMANDS)
const widest = (text: string) => Math.max(...text.split('\n').map((line) => line.length))

it('customer-stream --help lists each command in lines of at most 80 columns', { timeout }, async () => {
  const { code, stdout, stderr } = await run(['--help'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  for (const [name, { summary }] of commands) expect(stdout).toMatch(new RegExp(`^  ${name} +${summary}$`, 'm'))
  expect(widest(stdout)).toBeLessThanOrEqual(80)
})

it('a command with --help prints its help and ends', { timeout }, async () => {
  expect(await run(['topics', '--help'])).toEqual(await runInShared(['topics', '--help']))
})

it('--help of a command lists each option and each argument in lines of at most 80 columns', { timeout }, async () => {
  // The help of quarantine names its words, and the help of each word names options.
  const [ofQuarantine = []] = COMMANDS.quarantine.words
  const lines = [...commands.map(([name]) => [name]), ...ofQuarantine.map((word) => ['quarantine', word])]
  const helps = await runAll(lines.map((words) => [...words, '--help']))
  for (const { code, stderr } of helps) expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  for (const { stdout } of helps.slice(commands.length)) expect(stdout).toMatch(/Exit code [\s\S]*KAFKA_BROKERS/)
  for (const [name, command] of commands) {
    const ofCommand = helps.filter((_, i) => lines[i]![0] === name).map(({ stdout }) => stdout)
    const text = ofCommand.join('')
    const named = new Set(text.match(/--[a-z-]+/g))
    for (const option of Object.keys(command.options)) expect(named, name).toContain(`--${option}`)
    for (const word of command.words?.flat() ?? []) expect(ofCommand[0], name).toContain(word)
    expect(widest(text), name).toBeLessThanOrEqual(80)
  }
})

it('each command refuses a misspelt option, and names the nearest option', { timeout }, async () => {
  const optionOf = ({ options }: Command) => Object.keys(options)[0]
  const ended = await runAll(
    commands.map(([name, command]) => [
      name,
      ...(command.words ?? []).map(([word = 'any-id']) => word),
      `--${optionOf(command) ?? 'nothing'}x`,
    ]),
  )
  for (const [i, [name, command]] of commands.entries()) {
    const { code, stdout, stderr } = ended[i]!
    const option = optionOf(command)
    expect({ name, code, stdout }).toEqual({ name, code: 2, stdout: '' })
    const nearest = option === undefined ? '' : `; the nearest is --${option}`
    expect(stderr).toContain(`: unknown option --${option ?? 'nothing'}x${nearest}\n`)
  }
})

it('a wrong command line ends with an error that names what is wrong', { timeout }, async () => {
  const wrong: [string[], string][] = [
    [['verfy'], 'unknown command verfy; the nearest is verify\n'],
    [['--verison'], 'unknown option --verison; the nearest is --version\n'],
    [['topics', 'chek'], 'unknown word "chek"; the nearest is check'],
    [['topics', 'check', 'now'], 'unexpected "now"'],
    [['config', 'check'], 'a word is missing: ingress or projector'],
    [['customer', 'show'], 'the ID of the customer (customerUuid) is missing'],
    [['quarantine', 'lst'], 'unknown word "lst"; the nearest is list'],
    [['quarantine', 'show', '0/1', '0/2'], 'unexpected "0/2"'],
    [['topics', 'check', '--print'], '--print belongs to topics create'],
    [[], 'customer-stream COMMAND'],
  ]
  const ended = await runAll(wrong.map(([words]) => words))
  expect(ended).toEqual(wrong.map(([, problem]) => ({ code: 2, stdout: '', stderr: expect.stringContaining(problem) })))
})

it('customer-stream --version prints the version, and the commit of the image', { timeout }, async () => {
  expect((await run(['--version'])).stdout).toMatch(/^customer-stream \d+\.\d+\.\d+( \([0-9a-f]+\))?\n$/)
  const { stdout } = await runInShared(['--version'], { CUSTOMER_STREAM_COMMIT: 'abc1234' })
  expect(stdout).toMatch(/^customer-stream \S+ \(abc1234\)\n$/)
})

it('npx customer-stream works in the repository', { timeout }, async () => {
  const ended = await new Promise<Ended>((resolve) =>
    execFile('npx', ['customer-stream', '--version'], { cwd: root }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, stdout, stderr }),
    ),
  )
  expect(ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/^customer-stream /) })
})

it.each(['stdout', 'stderr'] as const)(
  'customer-stream ends without a message if the program that reads its %s has ended',
  { timeout },
  async (closed) => {
    const words = closed === 'stdout' ? ['--help'] : ['nothing']
    const child = spawn(process.execPath, [...program, ...words], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
    child[closed].destroy()
    let said = ''
    child[closed === 'stdout' ? 'stderr' : 'stdout'].on('data', (text) => {
      said += text
    })
    const [code] = await once(child, 'close')
    expect({ code, said }).toEqual({ code: 141, said: '' })
  },
)

/** Starts a server. Returns its port. */
const portOf = async (server: Server): Promise<number> => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return (server.address() as AddressInfo).port
}

/** Writes an environment file. */
const fileWith = (lines: readonly string[]): string => {
  const folder = mkdtempSync(join(tmpdir(), 'settings-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'env')
  writeFileSync(file, lines.join('\n'))
  return file
}

it('config check names all problems in one run, and shows no secret', { timeout }, async () => {
  const file = fileWith([
    'KAFKA_BROKERS=a:1',
    'KAFKA_TOPICS_PREFIX=x',
    'PORT=99999',
    'MYKAARMA_SIGNING_SECRETS=hush-hush',
    'MYKAARMA_TOKENS="a=hush-hush"',
  ])
  const words = ['config', 'check', 'ingress', '--env-file', file]
  const { code, stdout, stderr } = await runInShared(words)
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
  const problems = [
    'KAFKA_TOPICS_PREFIX is not a setting; the nearest is KAFKA_TOPIC_PREFIX',
    'PORT: "99999" is not accepted; expected integer, 0 to 65535',
    'MYKAARMA_SIGNING_SECRETS: entry 1 is not of the form name=value',
  ]
  expect(stdout).toContain(['settings:', ...problems].join('\n  - '))
  expect(stdout).not.toContain('hush')
  const json = await runInShared([...words, '--json'])
  expect(json.stdout).not.toContain('hush')
  expect([json.code, JSON.parse(json.stdout)]).toMatchObject([1, { service: 'ingress', ok: false, problems }])
})

it('config check reads the environment, and shows the given values and the defaults', { timeout }, async () => {
  const env = { KAFKA_BROKERS: 'a:1', REDIS_URL: 'redis://user:hush@a:1', CHUNK_RECORDS: '5' }
  const { code, stdout } = await runInShared(['config', 'check', 'projector'], env)
  expect({ code }).toEqual({ code: 0 })
  for (const line of [
    'given        CHUNK_RECORDS=5',
    'given        REDIS_URL=(hidden)',
    'default      KAFKA_SSL=false',
  ])
    expect(stdout).toContain(`  ${line}\n`)
  expect(stdout).toContain('The projector accepts these settings')
})

it('config check and status show neither the password in an address nor a control character', { timeout }, async () => {
  const file = fileWith([
    'KAFKA_BROKERS=user:hush@a:1',
    'KAFKA_SASL_OAUTH_TOKEN_URL=https://me:hush@a/token',
    'REDIS_URL=redis://a:1',
    'REDIS_KEY_PREFIX="\u001b[2Jx"',
  ])
  const words = ['config', 'check', 'projector', '--env-file', file]
  const [text, json] = [await runInShared(words), await runInShared([...words, '--json'])]
  const status = await runInShared(['status', '--ingress', 'http://user:hush@a:1'])
  for (const { stdout, stderr } of [text, json, status]) {
    expect(stdout + stderr).not.toContain('hush')
    expect(stdout + stderr).not.toContain('\u001b')
  }
  expect(text.stdout).toContain('KAFKA_SASL_OAUTH_TOKEN_URL=https:…@a/token\n')
  expect(text.stdout).toContain('REDIS_KEY_PREFIX=\\u{1b}[2Jx\n')
  expect(status.stderr).toContain('--ingress must be a URL without a user and a password')
})

it('config check warns of an expired certificate', { timeout }, async () => {
  const { cert, key } = createAuthority().issue('projector', [], new Date('2021-03-04T05:06:07Z'))
  const env = { KAFKA_BROKERS: 'a:1', KAFKA_SSL: 'true', KAFKA_SSL_CERT: cert, KAFKA_SSL_KEY: key }
  const { code, stdout } = await runInShared(['config', 'check', 'ingress'], { ...env, MYKAARMA_AUTH: 'off' })
  expect({ code }).toEqual({ code: 0 })
  expect(stdout).toContain('  ! KAFKA_SSL_CERT has a certificate that expired on 2021-03-04 05:06:07 UTC\n')
})

it('config check with a file ignores the environment', { timeout }, async () => {
  const file = fileWith(['MYKAARMA_AUTH=off'])
  const words = ['config', 'check', 'ingress', '--env-file', file]
  const { code, stdout } = await runInShared(words, { KAFKA_BROKERS: 'a:1' })
  expect(code).toBe(1)
  expect(stdout).toContain('KAFKA_BROKERS is missing')
  expect((await runInShared([...words.slice(0, -1), `${file}-missing`])).stderr).toMatch(
    /\n\nconfig: --env-file cannot be read: ENOENT/,
  )
})

it('the topics command names the address of a silent Kafka, and needs no Redis', { timeout }, async () => {
  const { code, stderr } = await run(['topics', 'check'], { KAFKA_BROKERS: '127.0.0.1:1' })
  expect([code, stderr]).toEqual([
    1,
    expect.stringMatching(/^topics: Kafka cannot be reached at 127\.0\.0\.1:1 \(ECONN/),
  ])
})

it.each([
  ['topics check'],
  ['topics create'],
  ['status --timeout-seconds 60'],
  ['customer show any-id'],
  ['customer history any-id'],
  ['erase any-id --status'],
  ['erase any-id --reason test --requested-by me'],
  ['drift'],
  ['rebuild'],
  ['rebuild --wait'],
  ['verify'],
  ['verify --repair --execute'],
  ['quarantine list'],
  ['quarantine show 0/0'],
  ['quarantine drop --reason not-json'],
  ['quarantine redrive --reason not-json'],
  ['simulate --url http://SERVER/ --secret s --token t --events 9 --customers 9'],
])('Ctrl-C ends the command `%s` within seconds, even if no server answers', { timeout }, async (line) => {
  const silent = createServer((socket) => socket.on('error', () => undefined))
  const address = `127.0.0.1:${await portOf(silent)}`
  const env = { ...essentials, KAFKA_BROKERS: address, REDIS_URL: `redis://${address}` }
  const words = line.replace('SERVER', address).split(' ')
  const simulator = ['--conditions=customer-stream-source', 'packages/simulator/src/main.ts', ...words.slice(1)]
  const command = words[0] === 'simulate' ? simulator : [...program, ...words]
  const child = spawn(process.execPath, command, { cwd: root, env })
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
  })
  // The first connection only tests the address. The second connection belongs to a client.
  const connected = once(silent, 'connection').then(() => once(silent, 'connection'))
  const [early] = await Promise.race([connected.then(() => []), once(child, 'close')])
  expect({ early, said }).toEqual({ early: undefined, said: expect.not.stringContaining('usage') })
  // The simulator waits for the answers to its requests, at most 5 s, as the sender does.
  const limitMs = words[0] === 'simulate' ? 9000 : 4000
  const interruptedAt = performance.now()
  child.kill('SIGINT')
  const [code] = await once(child, 'close')
  expect({ code, said }).toEqual({ code: 130, said: expect.not.stringMatching(/^ +at |Error:/m) })
  expect(performance.now() - interruptedAt).toBeLessThan(limitMs)
})

it.each([
  ['status'],
  ['customer', 'show', 'any-id'],
  ['drift'],
  ['rebuild'],
  ['erase', 'any-id', '--status'],
  ['verify'],
  ['topics', 'check'],
  ['quarantine', 'list'],
])('%s refuses to connect in plain text if certificates for TLS are given', { timeout }, async (...words) => {
  const { ca } = createAuthority()
  const env = { KAFKA_BROKERS: '127.0.0.1:1', REDIS_URL: 'redis://127.0.0.1:1', KAFKA_SSL_CA: ca }
  const { code, stderr } = await runInShared(words, env)
  expect([code, stderr]).toEqual([2, expect.stringContaining('KAFKA_SSL_CA: given, but KAFKA_SSL is false')])
})

describe('status names the settings to check, if Redis', () => {
  const statusWith = (env: NodeJS.ProcessEnv) =>
    run(['status', '--timeout-seconds', '5'], { KAFKA_BROKERS: '127.0.0.1:1', ...env })

  it('status names REDIS_TLS_CA if Redis has a certificate of another authority', { timeout }, async () => {
    const port = await portOf(createTlsServer(createAuthority('other').issue('redis', ['127.0.0.1'])))
    const { stdout } = await statusWith({ REDIS_URL: `rediss://127.0.0.1:${port}`, REDIS_TLS_CA: createAuthority().ca })
    expect(stdout).toMatch(/✘ Redis rediss:\/\/127\.0\.0\.1:\d+ has a certificate .*not trusted here.*REDIS_TLS_CA/)
  })

  it('status names REDIS_SENTINELS if the Sentinels do not know the name of the primary', { timeout }, async () => {
    // Answers each command by a null.
    const sentinel = createServer((socket) =>
      socket.on('data', (data) => socket.write(`${data}`.replaceAll(/[^*]+/g, '').replaceAll('*', '*-1\r\n'))),
    )
    const env = { REDIS_URL: 'redis://primary', REDIS_SENTINELS: `127.0.0.1:${await portOf(sentinel)}` }
    const { stdout } = await statusWith(env)
    expect(stdout).toMatch(/✘ Redis redis:\/\/primary has Sentinels that do not know its name .*REDIS_SENTINELS/)
  })
})

it('status ends within its limit, even if Kafka, Redis and a service never answer', { timeout }, async () => {
  const silent = createServer(() => undefined)
  const address = `127.0.0.1:${await portOf(silent)}`
  const beginsAt = once(silent, 'connection').then(() => performance.now())
  const words = ['status', '--timeout-seconds', '5', '--ingress', `http://${address}`]
  const { code, stdout } = await run(words, { KAFKA_BROKERS: address, REDIS_URL: `redis://${address}` })
  // On a busy machine the command may take longer than its limit of 5 s. Without a limit the
  // command takes 8 s, so this time is between the two.
  expect(performance.now() - (await beginsAt)).toBeLessThan(7000)
  expect(code).toBe(1)
  expect(stdout).toMatch(/✘ Kafka at \S+ did not answer within [345] s\n/)
  expect(stdout).toMatch(/✘ ingress \S+ does not answer: no answer within 3 s/)
})

it.each([40, 80, 200])('on a terminal of %i columns, no line of a report is longer', { timeout }, async (columns) => {
  const words = ['config', 'check', 'ingress']
  const env = { KAFKA_BROKERS: 'localhost:9092', KAFKA_SSL_CA: 'x'.repeat(300) }
  const [piped, shown] = [await runInShared(words, env), await runInShared(words, env, columns)]
  expect(widest(shown.stdout)).toBeLessThanOrEqual(columns)
  expect(shown.stdout.replaceAll(/\s/g, '')).toBe(piped.stdout.replaceAll(/\s/g, ''))
  expect(widest(piped.stdout)).toBeGreaterThan(80)
})
