import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, expect, it, onTestFinished } from 'vitest'
import { createRegistry } from './metrics.ts'
import { createSecretFiles } from './secret-files.ts'
import { integer, namedSecrets, optionalSecret } from './setting-kinds.ts'
import { loadSettings } from './settings.ts'

const schemas = {
  PORT: integer({ default: 1, minimum: 0, maximum: 9, description: '' }),
  SECRETS: namedSecrets({ description: '' }),
  PASSWORD: optionalSecret({ description: '' }),
  CERTIFICATE: optionalSecret({ description: '' }),
  KEY: optionalSecret({ description: '' }),
  URL: { ...optionalSecret({ description: '' }), fixedPart: (url: string) => url.split('@').at(-1) },
}
const rules = [
  ({ CERTIFICATE = '', KEY = '' }: { CERTIFICATE?: string | undefined; KEY?: string | undefined }) =>
    CERTIFICATE.slice(-1) === KEY.slice(-1) ? undefined : 'KEY is not the key of CERTIFICATE',
  ({ PASSWORD }: { PASSWORD?: string | undefined }) => (PASSWORD === 'wrong' ? 'PASSWORD is wrong' : undefined),
]

let folder: string
let versions = 0

/** Mounts files as Kubernetes does: each file is a link into `..data`, which is a link itself. */
const mount = (files: Readonly<Record<string, string>>) => {
  const version = join(folder, `..version-${versions++}`)
  mkdirSync(version)
  for (const [name, content] of Object.entries({ url: 'me:old@host', certificate: 'cert 1', key: 'key 1', ...files }))
    writeFileSync(join(version, name), content)
  symlinkSync(version, join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
}

/** Opens the files. `beforeWatch` runs after the settings were read. */
const setUp = async (beforeWatch = () => {}) => {
  mount({ secrets: 'a=1\n', password: 'first\n' })
  for (const name of ['secrets', 'password', 'url', 'certificate', 'key'])
    symlinkSync(join('..data', name), join(folder, name))
  const fileOf = (name: string) => join(folder, name)
  const env = {
    SECRETS_FILE: fileOf('secrets'),
    PASSWORD_FILE: fileOf('password'),
    URL_FILE: fileOf('url'),
    CERTIFICATE_FILE: fileOf('certificate'),
    KEY_FILE: fileOf('key'),
  }
  const loaded = loadSettings(schemas, env, rules)
  beforeWatch()
  const lines: Record<string, unknown>[] = []
  const log = (fields: object) => void lines.push(fields as Record<string, unknown>)
  const registry = createRegistry('test')
  const files = createSecretFiles(loaded, {
    schemas,
    env,
    rules,
    registry,
    logger: { info: log, warn: log } as never,
    settledAfterMs: 0,
  })
  const metric = async (name: string) => (await registry.getSingleMetric(name)?.get())?.values[0]?.value
  return { ...files, loaded, lines, metric }
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'secrets-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
})

it('a process uses the new secrets after Kubernetes has swapped the files', async () => {
  const { check, loaded, lines, metric } = await setUp()
  await check()
  expect(lines).toEqual([])
  mount({ secrets: 'a=1\nb=2', password: 'first' })
  await check()
  expect([...loaded.SECRETS]).toEqual([
    ['a', '1'],
    ['b', '2'],
  ])
  expect(lines).toEqual([{ event: 'secrets-changed', settings: ['SECRETS'] }])
  expect(await metric('customer_stream_secret_changes_total')).toBe(1)
})

it('if a secret file changes during the start, the new secrets are used', async () => {
  const { check, loaded, lines } = await setUp(() => mount({ secrets: 'a=2', password: 'first' }))
  await check()
  expect([...loaded.SECRETS]).toEqual([['a', '2']])
  expect(lines).toEqual([{ event: 'secrets-changed', settings: ['SECRETS'] }])
})

it('if a refused secret file gets its old content back, it is usable, and does not count as changed', async () => {
  const { check, lines, metric } = await setUp()
  mount({ secrets: 'a=', password: 'first' })
  await check()
  mount({ secrets: 'a=1', password: 'first' })
  await check()
  await check()
  expect(lines.map(({ event }) => event)).toEqual(['secrets-unusable', 'secrets-usable'])
  expect(await metric('customer_stream_secret_files_unusable')).toBe(0)
  expect(await metric('customer_stream_secret_changes_total')).toBe(0)
})

it.each([
  ['is emptied', '', 'SECRETS_FILE is empty'],
  ['has garbage', '\u0000\u0001 hush=', 'SECRETS: the value has a control character'],
  ['has a secret without a name', 'hush', 'SECRETS: entry 1 is not of the form name=value'],
])(
  'if a secret file %s, its old value stays, one warning is logged, and other files are used',
  async (_, content, problem) => {
    const { check, loaded, lines, metric } = await setUp()
    mount({ secrets: content, password: 'second' })
    await check()
    await check()
    expect([...loaded.SECRETS]).toEqual([['a', '1']])
    expect(loaded.PASSWORD).toBe('second')
    expect(lines).toEqual([
      { event: 'secrets-changed', settings: ['PASSWORD'] },
      { event: 'secrets-unusable', problem: expect.stringContaining(problem) },
    ])
    expect(JSON.stringify(lines)).not.toMatch(/hush|second/)
    expect(await metric('customer_stream_secret_files_unusable')).toBe(1)

    mount({ secrets: 'a=2', password: 'second' })
    await check()
    expect(loaded).toMatchObject({ PASSWORD: 'second', SECRETS: new Map([['a', '2']]) })
    expect(await metric('customer_stream_secret_files_unusable')).toBe(0)
  },
)

it('a secret keeps its old value if its file is missing, or if a rule refuses the new value', async () => {
  const { check, loaded, lines } = await setUp()
  mount({ secrets: 'a=2' })
  await check()
  mount({ secrets: 'a=2', password: 'wrong' })
  await check()
  expect(loaded).toMatchObject({ PASSWORD: 'first', SECRETS: new Map([['a', '2']]) })
  expect(lines.flatMap(({ problem }) => problem ?? [])).toEqual([
    expect.stringMatching(/^PASSWORD_FILE cannot be read: ENOENT/),
    expect.stringContaining('PASSWORD is wrong'),
  ])
})

it('a secret file that is being written is not used', async () => {
  const { check, loaded, lines } = await setUp()
  mount({ secrets: 'a=', password: 'first' })
  const checked = check()
  mount({ secrets: 'a=2', password: 'first' })
  await checked
  expect(lines).toEqual([])
  await check()
  expect([...loaded.SECRETS]).toEqual([['a', '2']])
})

it('a secret file with another address is refused until a restart, but a file with another login is used', async () => {
  const { check, loaded, lines, metric } = await setUp()
  mount({ secrets: 'a=2', password: 'first', url: 'me:hush@elsewhere' })
  await check()
  expect(loaded).toMatchObject({ URL: 'me:old@host', SECRETS: new Map([['a', '2']]) })
  expect(lines).toEqual([
    { event: 'secrets-changed', settings: ['SECRETS'] },
    { event: 'secrets-unusable', problem: expect.stringMatching(/^URL_FILE .*restart/i) },
  ])
  expect(JSON.stringify(lines)).not.toMatch(/hush|elsewhere/)
  expect(await metric('customer_stream_secret_files_unusable')).toBe(1)
  mount({ secrets: 'a=2', password: 'first', url: 'me:new@host' })
  await check()
  expect(loaded).toMatchObject({ URL: 'me:new@host', SECRETS: new Map([['a', '2']]) })
})

it('a named pipe in place of a secret file is refused, because a read of the pipe would never end', async () => {
  const { check, loaded, lines } = await setUp()
  mount({ secrets: 'a=1' })
  execFileSync('mkfifo', [join(folder, '..data', 'password')])
  await check()
  expect(loaded.PASSWORD).toBe('first')
  expect(lines).toEqual([{ event: 'secrets-unusable', problem: 'PASSWORD_FILE cannot be read: it is not a file' }])
})

it('a certificate and its key are used together, even if another secret file is wrong', async () => {
  const { check, loaded, lines } = await setUp()
  mount({ secrets: '', password: 'first', certificate: 'cert 2', key: 'key 2' })
  await check()
  expect(loaded).toMatchObject({ CERTIFICATE: 'cert 2', KEY: 'key 2' })
  expect(lines[0]).toEqual({ event: 'secrets-changed', settings: ['CERTIFICATE', 'KEY'] })
})

it('a certificate without its key is refused, and the other secret files are used', async () => {
  const { check, loaded, lines } = await setUp()
  mount({ secrets: 'a=2', password: 'first', certificate: 'cert 2', key: '' })
  await check()
  expect(loaded).toMatchObject({ CERTIFICATE: 'cert 1', KEY: 'key 1', SECRETS: new Map([['a', '2']]) })
  expect(lines).toEqual([
    { event: 'secrets-changed', settings: ['SECRETS'] },
    { event: 'secrets-unusable', problem: 'KEY_FILE is empty; KEY is not the key of CERTIFICATE' },
  ])
})
