/**
 * The code that a program loads at its start. Each part below needs 30 to 80 ms of CPU time. The
 * names of countries (`Intl.DisplayNames`) need 6 MB of memory.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

const PARTS = [
  'kafkajs',
  'ioredis',
  'prom-client',
  'libphonenumber',
  'fastify',
  '/ajv/',
  'NativeModule http',
  'deps/undici',
  'Intl.DisplayNames',
]

/** Reports the loaded parts when its process ends. */
const report = `
  const files = []
  const load = (url, context, next) => {
    files.push(url)
    return next(url, context)
  }
  process.getBuiltinModule('node:module').registerHooks({ load })
  const { DisplayNames } = Intl
  Intl.DisplayNames = function (...options) {
    files.push('Intl.DisplayNames')
    return new DisplayNames(...options)
  }
  process.on('exit', () => {
    const isLoaded = (part) => [...files, ...process.moduleLoadList].some((file) => file.includes(part))
    process.stderr.write('loaded: ' + ${JSON.stringify(PARTS)}.filter(isLoaded).join(' '))
  })`

/**
 * Programs, and the parts that they need. None needs the rules of phone numbers, the compiler of
 * JSON schemas, or Node's `fetch`.
 */
const PROGRAMS = {
  'services/ingress/start.js': 'kafkajs prom-client fastify NativeModule http',
  'services/projector/start.js': 'kafkajs ioredis prom-client fastify NativeModule http Intl.DisplayNames',
  'services/reader/start.js': 'kafkajs ioredis prom-client fastify NativeModule http',
  'packages/cli/start.js verify --help': 'kafkajs ioredis',
  'packages/cli/start.js --help': '',
}

/** A service ends when it cannot open its admin port. All of its code is then loaded. */
const WITHOUT_ADMIN_PORT = {
  KAFKA_BROKERS: '127.0.0.1:1',
  REDIS_URL: 'redis://127.0.0.1:1',
  MYKAARMA_AUTH: 'off',
  READER_AUTH: 'off',
  ADMIN_HOST: '192.0.2.1',
  SHUTDOWN_DELAY_MS: '0',
  NODE_ENV: 'production',
}

it.each(Object.entries(PROGRAMS))(
  '%s loads at its start only the libraries that it needs',
  { timeout: 30_000 },
  (program, parts) => {
    const { stderr } = spawnSync(
      process.execPath,
      [
        `--import=data:text/javascript,${encodeURIComponent(report)}`,
        '--conditions=customer-stream-source',
        ...program.split(' '),
      ],
      { cwd: root, env: { ...process.env, ...WITHOUT_ADMIN_PORT }, encoding: 'utf8' },
    )
    expect(/loaded: (.*)/.exec(stderr)?.[1]).toBe(parts)
  },
)

it('a command stores its compiled code, so that only its first start compiles', () => {
  const { NODE_COMPILE_CACHE: _, ...env } = process.env
  const show = `process.on('exit', () => console.log(process.getBuiltinModule('node:module').getCompileCacheDir()))`
  const { stdout } = spawnSync(
    process.execPath,
    [
      `--import=data:text/javascript,${encodeURIComponent(show)}`,
      '--conditions=customer-stream-source',
      'packages/cli/start.js',
      '--version',
    ],
    { cwd: root, env, encoding: 'utf8' },
  )
  expect(stdout).toContain(`${root}node_modules/.cache/node`)
})
