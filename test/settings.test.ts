import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  ingressRules,
  ingressSettings,
  projectorRules,
  projectorSettings,
  readerRules,
  readerSettings,
} from '@customer-stream/configuration'
import { loadSettings, type Rule, type Settings, SettingsError } from '@customer-stream/runtime'
import { expect, it } from 'vitest'
import { clientRules, clientSettings } from '../packages/cli/src/with-clients.ts'

const required = { KAFKA_BROKERS: 'a:1', REDIS_URL: 'redis://a:1' }
/** Returns the problems, or none if the environment is accepted. */
const problemsWith = (load: (env: NodeJS.ProcessEnv) => unknown, env: NodeJS.ProcessEnv): readonly string[] => {
  try {
    load(env)
    return []
  } catch (error) {
    expect(error).toBeInstanceOf(SettingsError)
    return (error as SettingsError).problems
  }
}

/** How each service loads its settings. */
const SERVICES = {
  ingress: (env: NodeJS.ProcessEnv) => loadSettings(ingressSettings, env, ingressRules),
  projector: (env: NodeJS.ProcessEnv) => loadSettings(projectorSettings, env, projectorRules),
  reader: (env: NodeJS.ProcessEnv) => loadSettings(readerSettings, env, readerRules, ingressSettings),
}
const services = Object.entries(SERVICES)
const API_KEY = { name: 'a', sha256: 'a'.repeat(64), scopes: ['read'], dealers: ['*'] }
/** One environment with the settings that the three services need. */
const SHARED = {
  ...required,
  MYKAARMA_SIGNING_SECRETS: 'a=secret',
  MYKAARMA_TOKENS: 'a=token',
  MYKAARMA_CHARSET: 'windows-1252',
  READER_API_KEYS: JSON.stringify([API_KEY]),
}
const EVERY: Settings = { ...ingressSettings, ...projectorSettings, ...readerSettings }

it.each(services)('the %s starts with the environment file of all services', (_, load) => {
  expect(() => load(SHARED)).not.toThrow()
})

it.each(services)('the %s accepts the name of each setting of another service', (_, load) => {
  const names = Object.entries(EVERY).flatMap(([name, schema]) => [name, ...(schema.secret ? [`${name}_FILE`] : [])])
  const env = { ...Object.fromEntries(names.map((name) => [name, 'x'])), ...SHARED }
  // The value x may also be wrong for the setting. Such a problem is ignored here.
  expect(problemsWith(load, env).filter((problem) => problem.includes('is not a setting'))).toEqual([])
})

it.each(services)('the %s refuses each misspelt name of its own settings', (service, load) => {
  const { settings } = PROGRAMS[service]!
  for (const name of Object.keys(settings).filter((each) => each.includes('_') && each.length >= 8)) {
    const problems = problemsWith(load, { ...SHARED, [`${name}X`]: 'x' })
    expect(problems).toContain(`${name}X is not a setting; the nearest is ${name}`)
  }
})

it.each([
  ['REDIS_PASSWORD', 'x', 'REDIS_PASSWORD is not a setting: this value is a part of REDIS_URL'],
  ['READER_KEYS_FILE', 'x', 'READER_KEYS_FILE is not a setting; the nearest is READER_API_KEYS_FILE'],
  ['KAFKA_PASSWORD', 'x', 'KAFKA_PASSWORD is not a setting; the nearest is KAFKA_SASL_PASSWORD'],
  ['ADMIN_PORT', '8090', 'PORT and ADMIN_PORT are both 8090: give one of them another number'],
  ['READER_API_KEYS', '[]', 'READER_API_KEYS: the JSON array has no key'],
  ['INGRESS_ADMIN_URLS', 'ingress:9464', 'INGRESS_ADMIN_URLS: the value is not of the form http://host:port'],
])('the reader says how to correct %s=%s', (name, value, problem) => {
  expect(problemsWith(SERVICES.reader, { ...SHARED, [name]: value })).toEqual([problem])
})

it('PORT and ADMIN_PORT may be equal on two addresses, and both may be 0', () => {
  for (const env of [
    { PORT: '0', ADMIN_PORT: '0' },
    { PORT: '8080', ADMIN_PORT: '8080', ADMIN_HOST: '127.0.0.1' },
  ])
    expect(problemsWith(SERVICES.ingress, { ...SHARED, ...env })).toEqual([])
})

it.each([
  ['usa', 'PHONE_COUNTRY: "usa" is not accepted; expected two letters, such as US'],
  ['XX', 'PHONE_COUNTRY: XX is not a country of ISO 3166, such as US or GB'],
  ['UK', 'PHONE_COUNTRY: UK is not a country of ISO 3166, such as US or GB'],
])('PHONE_COUNTRY=%s is refused', (PHONE_COUNTRY, problem) => {
  expect(problemsWith(SERVICES.projector, { ...SHARED, PHONE_COUNTRY })).toEqual([problem])
})

it.each(['ingress', 'reader'] as const)('the %s refuses a misspelt name that begins with MYKAARMA_', (service) => {
  const problems = problemsWith(SERVICES[service], {
    ...SHARED,
    MYKAARMA_TOKNES: 'a=b',
    MYKAARMA_SECRET: 'a=b',
    MYKAARMA_CODEPAGE: 'x',
  })
  expect(problems).toContain('MYKAARMA_SECRET is not a setting; the nearest is MYKAARMA_SIGNING_SECRETS')
  expect(problems).toContain('MYKAARMA_TOKNES is not a setting; the nearest is MYKAARMA_TOKENS')
  expect(problems).toContainEqual(expect.stringContaining('MYKAARMA_CODEPAGE is not a setting'))
})

const PROGRAMS: Readonly<Record<string, { settings: Settings; rules: readonly unknown[] }>> = {
  ingress: { settings: ingressSettings, rules: ingressRules },
  projector: { settings: projectorSettings, rules: projectorRules },
  reader: { settings: readerSettings, rules: readerRules },
  command: { settings: clientSettings, rules: clientRules },
}

/**
 * Returns the other settings that a setting needs. Without them a rule would refuse every value of
 * this setting.
 */
const contextOf = (name: string): Record<string, string> => {
  const oauth = { KAFKA_SASL_MECHANISM: 'oauthbearer', KAFKA_SASL_OAUTH_TOKEN_URL: 'https://a' }
  const client = { KAFKA_SASL_OAUTH_CLIENT_ID: 'a', KAFKA_SASL_OAUTH_CLIENT_SECRET: 'a' }
  if (name.startsWith('KAFKA_SASL_OAUTH')) return { ...oauth, ...client }
  if (/^KAFKA_SASL_(USERNAME|PASSWORD)$/.test(name))
    return { KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'a', KAFKA_SASL_PASSWORD: 'a' }
  if (name.startsWith('KAFKA_SSL_')) return { KAFKA_SSL: 'true' }
  if (name.startsWith('REDIS_TLS_')) return { REDIS_URL: 'rediss://a:1' }
  if (name.startsWith('REDIS_SENTINEL'))
    return { REDIS_URL: 'redis://primary', REDIS_SENTINELS: 'a', REDIS_SENTINEL_PASSWORD: 'a' }
  return {}
}

/** Returns the problems, or none if the program accepts the value. */
const problemsOf = (program: string, name: string, value: string): readonly string[] => {
  const { settings, rules } = PROGRAMS[program]!
  const setting = name.replace(/_FILE$/, '')
  const context: Record<string, string> = {
    ...required,
    MYKAARMA_AUTH: 'off',
    READER_AUTH: 'off',
    ...contextOf(setting),
  }
  const legal = Object.entries(context).filter(([given]) => given in settings && given !== setting)
  const own = Object.fromEntries([...legal, [name, value]])
  return problemsWith((env) => loadSettings(settings, env, rules as readonly Rule<Settings>[]), own)
}

const FILLER = 'x'.repeat(100_000)

/** Values that no setting accepts. */
const NEVER = {
  blanks: '  ',
  'a tab': '\t',
  'a NUL': 'a\0b',
  'an escape sequence': 'a\u001b[31mb',
  'a C1 control character': 'a\u009bb',
  'separators only': ', ,',
}

/**
 * Settings whose value may be any text. Only Kafka, Redis, the disk or the network can refuse it.
 */
const ANY_TEXT = [
  ...['HOST', 'ADMIN_HOST', 'OTEL_SERVICE_NAME', 'SPOOL_DIR', 'CONSUMER_GROUP_ID', 'REDIS_KEY_PREFIX'],
  ...['KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD', 'KAFKA_SASL_AWS_REGION', 'KAFKA_SASL_OAUTH_SCOPE'],
  ...['KAFKA_SASL_OAUTH_CLIENT_ID', 'KAFKA_SASL_OAUTH_CLIENT_SECRET'],
  ...['REDIS_SENTINEL_USERNAME', 'REDIS_SENTINEL_PASSWORD'],
]

/** Returns wrong values for the type of the setting. */
const wrongForType = (schema: Settings[string]): readonly string[] => {
  if (schema.type === 'integer')
    return ['1.5', '0x10', '1e3', 'NaN', '-', '１', `${schema.minimum - 1}`, `${schema.maximum + 1}`, '9'.repeat(400)]
  if (schema.type === 'number') return ['-1', '2', '1e-2', 'NaN', '0,5']
  if (schema.type === 'boolean') return ['TRUE', '1', 'yes', 'true ']
  if (schema.anyOf !== undefined)
    return ['nothing', 'none ', ...schema.anyOf.map((each: { const: string }) => `${each.const}x`)]
  return []
}

const cases = Object.entries(PROGRAMS).flatMap(([program, { settings }]) =>
  Object.entries(settings).map(([name, schema]) => ({ program, name, schema })),
)

it.each(cases)('the $program refuses wrong values of $name in one short line', ({ program, name, schema }) => {
  const isAnyText = ANY_TEXT.includes(name)
  const never = Object.entries(NEVER).flatMap(([kind, value]) =>
    isAnyText && kind === 'separators only' ? [] : [value],
  )
  const some = isAnyText ? [] : ['\u{1f600}']
  const isList = schema.lines === true
  const wrong = [...never, ...some, ...(isList ? [] : ['a\nb']), FILLER, ...wrongForType(schema)]
  for (const value of wrong) {
    const problems = problemsOf(program, name, value)
    expect(problems.join(' '), JSON.stringify(value.slice(0, 20))).toContain(name)
    for (const problem of problems) {
      expect(problem.length).toBeLessThanOrEqual(600)
      expect(problem).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}]/u)
    }
  }
})

it.each(cases)('the $program treats an empty $name as not given', ({ program, name }) => {
  const { settings } = PROGRAMS[program]!
  const load = (env: Record<string, string>) => loadSettings(settings, { ...required, ...env })
  if (name in required) expect(() => load({ [name]: '' })).toThrow(`${name} is missing`)
  else expect(load({ [name]: '' })).toEqual(load({}))
})

const secrets = cases.filter(({ schema }) => schema.secret === true)

it.each(secrets)('the $program names $name if its file is missing or has wrong bytes', ({ program, name }) => {
  const file = join(mkdtempSync(join(tmpdir(), 'settings-')), 'secret')
  for (const content of ['\0\u0001', `${FILLER}\0`]) {
    writeFileSync(file, content)
    expect(problemsOf(program, `${name}_FILE`, file).join(' ')).toContain(name)
  }
  expect(problemsOf(program, `${name}_FILE`, '/no\nwhere').join(' ')).toMatch(/^[^\n]*cannot be read from [^\n]*$/)
})
