import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  addresses,
  choice,
  flag,
  httpAddress,
  httpAddresses,
  httpHeaders,
  integer,
  list,
  namedSecrets,
  optionalSecret,
  optionalText,
  ratio,
  recordPlaces,
  type Settings,
  text,
} from './setting-kinds.ts'
import { describeSettings, effectiveSettings, loadSettings } from './settings.ts'

const settings = {
  KAFKA_BROKERS: list({ description: 'brokers' }),
  KAFKA_CREATE_TOPICS: flag({ default: false, description: 'create' }),
  PORT: integer({ default: 8080, minimum: 0, maximum: 65535, description: 'port' }),
  MAX_BODY_BYTES: integer({ default: 1024, minimum: 1, maximum: 4096, description: 'size' }),
  MYKAARMA_AUTH: choice(['on', 'off'], { default: 'on', description: 'auth' }),
  MYKAARMA_TOKENS: namedSecrets({ description: 'tokens' }),
  MYKAARMA_ALLOWED_ADDRESSES: addresses({ description: 'addresses' }),
  KAFKA_NAME: text({ default: 'n', description: 'name' }),
  REDIS_NOTE: optionalText({ description: 'note' }),
  SHUTDOWN_DELAY_MS: integer({ default: 0, minimum: 0, maximum: 60_000, description: 'delay' }),
  TRUSTED_PROXIES: addresses({ description: 'proxies' }),
  SPOOL_DIR: optionalText({ description: 'folder' }),
  QUARANTINE_RECORDS: recordPlaces({ description: 'records' }),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpAddress({ description: 'address' }),
  INGRESS_ADMIN_URLS: httpAddresses({ description: 'addresses' }),
  OTEL_EXPORTER_OTLP_HEADERS: httpHeaders({ description: 'headers' }),
  OTEL_TRACES_SAMPLER_ARG: ratio({ default: 1, description: 'ratio' }),
} satisfies Settings

const load = (env: Record<string, string>) => loadSettings(settings, { KAFKA_BROKERS: 'a:1', ...env })

describe('loadSettings', () => {
  it('loadSettings reads every kind of value and every default', () => {
    const loaded = load({
      KAFKA_BROKERS: 'a:1, b:2,',
      KAFKA_CREATE_TOPICS: 'true',
      PORT: '0',
      MYKAARMA_TOKENS: 'old=a=b==,new=c',
      MYKAARMA_AUTH: 'off',
    })
    expect(loaded).toMatchObject({
      KAFKA_BROKERS: ['a:1', 'b:2'],
      KAFKA_CREATE_TOPICS: true,
      PORT: 0,
      MAX_BODY_BYTES: 1024,
      MYKAARMA_AUTH: 'off',
      KAFKA_NAME: 'n',
    })
    expect([...loaded.MYKAARMA_TOKENS]).toEqual([
      ['old', 'a=b=='],
      ['new', 'c'],
    ])
    expect(loaded.REDIS_NOTE).toBeUndefined()
  })

  it('loadSettings names all problems together and never shows a secret', () => {
    const env = {
      PORT: '80x',
      MAX_BODY_BYTES: '5000',
      MYKAARMA_AUTH: 'no',
      KAFKA_CREATE_TOPICS: 'yes',
      MYKAARMA_TOKENS: 's3cret',
      KAFKA_BROKER: 'a:1',
    }
    expect(() => loadSettings(settings, env)).toThrow(
      [
        '7 settings are wrong:',
        '  - KAFKA_BROKER is not a setting; the nearest is KAFKA_BROKERS',
        '  - KAFKA_BROKERS is missing: brokers',
        '  - KAFKA_CREATE_TOPICS: "yes" is not accepted; expected true or false',
        '  - PORT: "80x" is not accepted; expected integer, 0 to 65535',
        '  - MAX_BODY_BYTES: "5000" is not accepted; expected integer, 1 to 4096',
        '  - MYKAARMA_AUTH: "no" is not accepted; expected on, off',
        '  - MYKAARMA_TOKENS: entry 1 is not of the form name=value',
      ].join('\n'),
    )
  })

  it.each(['1.5', '1e3', '', ' 7', '-1', '99999', 'Infinity'])(
    'a port is refused, or has its default if the text is empty: %j',
    (PORT) => {
      if (PORT === '') expect(load({ PORT }).PORT).toBe(8080)
      else expect(() => load({ PORT })).toThrow('PORT')
    },
  )

  it('a misspelt setting is refused, but variables of Kubernetes services are ignored', () => {
    expect(() => load({ MYKAARMA_TOKEN: 'a=b' })).toThrow('the nearest is MYKAARMA_TOKENS')
    expect(() => load({ MAX_BODY_BYTE: '5' })).toThrow('the nearest is MAX_BODY_BYTES')
    const ingressOnly = loadSettings({ PORT: settings.PORT }, { REDIS_URL: 'redis://shared.environment.file' })
    expect(ingressOnly.PORT).toBe(8080)
    const kubernetes = {
      KAFKA_SERVICE_HOST: '10.0.0.1',
      KAFKA_PORT: 'tcp://x',
      REDIS_PORT_6379_TCP_ADDR: '10.0.0.2',
      REDIS_SERVICE_PORT_TLS: '1',
    }
    expect(load({ ...kubernetes, PATH: '/bin', POST: '1' }).PORT).toBe(8080)
  })

  it.each([
    ['SHUTDOWN_DELAY', 'SHUTDOWN_DELAY_MS'],
    ['SHUTDOWN_DELAY_SECONDS', 'SHUTDOWN_DELAY_MS'],
    ['TRUSTED_PROXY', 'TRUSTED_PROXIES'],
    ['SPOOL_DIRECTORY', 'SPOOL_DIR'],
    ['MAX_BODY_SIZE', 'MAX_BODY_BYTES'],
    ['ALLOWED_ADDRESSES', 'MYKAARMA_ALLOWED_ADDRESSES'],
    ['spool_dir', 'SPOOL_DIR'],
  ])('the variable %s is refused as a misspelt %s', (name, meant) => {
    expect(() => load({ [name]: 'x' })).toThrow(`${name} is not a setting; the nearest is ${meant}`)
  })

  it.each([
    'HOSTNAME',
    'PORTS',
    'NODE_ENV',
    'HTTP_PROXY',
    'PROXIES',
    'SPOOL_DIR_OF_ANOTHER',
    'DELAY_MS',
    'LOG_DIR',
    'SHUTDOWN',
    'MAX_OLD_SPACE_SIZE',
  ])('the variable %s is ignored, because no setting has a similar name', (name) => {
    expect(load({ [name]: 'x' }).PORT).toBe(8080)
  })

  it.each([
    ['one secret in each line', 'a=1\nb=2\n'],
    ['line breaks of Windows and a byte order mark', '\ufeffa=1\r\nb=2\r\n'],
    ['commas and line breaks', ' a=1,\n\n b=2 ,'],
  ])('several secrets are read from a file with %s', (_, content) => {
    const file = join(mkdtempSync(join(tmpdir(), 'settings-')), 'tokens')
    writeFileSync(file, content)
    expect([...load({ MYKAARMA_TOKENS_FILE: file }).MYKAARMA_TOKENS]).toEqual([
      ['a', '1'],
      ['b', '2'],
    ])
  })

  it('a secret is read from NAME_FILE, and NAME together with NAME_FILE is refused', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'settings-')), 'tokens')
    writeFileSync(file, 'a=1,b=2\n')
    expect([...load({ MYKAARMA_TOKENS_FILE: file }).MYKAARMA_TOKENS.values()]).toEqual(['1', '2'])
    expect(() => load({ MYKAARMA_TOKENS_FILE: file, MYKAARMA_TOKENS: 'a=1' })).toThrow('given twice')
    expect(() => load({ MYKAARMA_TOKENS_FILE: '/nowhere' })).toThrow('cannot be read from MYKAARMA_TOKENS_FILE')
    writeFileSync(file, '\n')
    expect(() => load({ MYKAARMA_TOKENS_FILE: file })).toThrow('MYKAARMA_TOKENS_FILE names is empty')
    expect(() => load({ KAFKA_NAME_FILE: file })).toThrow('KAFKA_NAME_FILE is not a setting')
  })

  it('addresses are matched by range, even an IPv4 address in IPv6 form', () => {
    const allowed = load({
      MYKAARMA_ALLOWED_ADDRESSES: '54.174.160.138, 10.0.0.0/8,2001:db8::/32',
    }).MYKAARMA_ALLOWED_ADDRESSES
    const ported = ['54.174.160.138:51008', '[2001:db8::1]:443', '"[2001:db8::1]"', '[2001:db9::1]:443', '10.0.0.1:x']
    expect(ported.map((address) => allowed?.includes(address))).toEqual([true, true, true, false, false])
    const includes = [
      '54.174.160.138',
      '::ffff:54.174.160.138',
      '10.9.9.9',
      '2001:db8::7',
      '54.174.160.139',
      '2001:db9::1',
      'nonsense',
    ]
    expect(includes.map((address) => allowed?.includes(address))).toEqual([true, true, true, true, false, false, false])
    for (const wrong of ['10.0.0.0/33', 'example.org', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0/8']) {
      expect(() => load({ MYKAARMA_ALLOWED_ADDRESSES: wrong })).toThrow('MYKAARMA_ALLOWED_ADDRESSES')
    }
  })

  it.each([
    ['KAFKA_BROKERS', ','],
    ['MYKAARMA_TOKENS', ' , '],
    ['MYKAARMA_ALLOWED_ADDRESSES', ','],
    ['MYKAARMA_ALLOWED_ADDRESSES', ' '],
    ['TRUSTED_PROXIES', ' , '],
    ['QUARANTINE_RECORDS', ','],
    ['OTEL_EXPORTER_OTLP_HEADERS', ','],
  ])('the list %s=%j has no entry, and is refused', (name, value) => {
    expect(() => load({ [name]: value })).toThrow(`${name}: the value has no entry`)
  })
})

it('the Markdown table has one row for each setting', () => {
  const rows = describeSettings(settings).split('\n')
  expect(rows).toHaveLength(2 + Object.keys(settings).length)
  expect(rows).toContain('| `KAFKA_BROKERS` | comma-separated list | **required** | brokers |')
  expect(rows).toContain('| `PORT` | integer, 0 to 65535 | `8080` | port |')
  expect(rows).toContain(
    '| `MYKAARMA_TOKENS` | `name=value`, separated by commas or line breaks | none | tokens Also as ' +
      '`MYKAARMA_TOKENS_FILE`. |',
  )
})

it('effectiveSettings returns the value and the source of each setting, without secrets', () => {
  const schema = {
    GIVEN: text({ default: 'a', description: '' }),
    DEFAULTED: integer({ default: 7, minimum: 1, maximum: 9, description: '' }),
    EMPTY: optionalText({ description: '' }),
    SECRET: optionalSecret({ description: '' }),
    SECRET_IN_FILE: optionalSecret({ description: '' }),
  }
  const env = { GIVEN: 'b', EMPTY: '', SECRET: 'hush', SECRET_IN_FILE_FILE: '/nowhere' }
  expect(effectiveSettings(schema, env)).toEqual([
    { name: 'GIVEN', isSecret: false, source: 'environment', value: 'b' },
    { name: 'DEFAULTED', isSecret: false, source: 'default', value: '7' },
    { name: 'EMPTY', isSecret: false, source: 'none' },
    { name: 'SECRET', isSecret: true, source: 'environment' },
    { name: 'SECRET_IN_FILE', isSecret: true, source: 'file' },
  ])
})

it('a list of addresses is read, and a wrong address in the list is refused', () => {
  expect(load({ INGRESS_ADMIN_URLS: 'http://a:9464/, https://b' }).INGRESS_ADMIN_URLS).toEqual([
    'http://a:9464',
    'https://b',
  ])
  expect(load({}).INGRESS_ADMIN_URLS).toEqual([])
  expect(() => load({ INGRESS_ADMIN_URLS: 'http://a:9464,b:9464' })).toThrow('not of the form http://host:port')
})

describe('settings of traces', () => {
  it('the settings of traces are read: address, headers and ratio', () => {
    const loaded = load({
      OTEL_EXPORTER_OTLP_ENDPOINT: 'https://collector:4318/otlp/',
      OTEL_EXPORTER_OTLP_HEADERS: 'Authorization=Basic%20YTpi=, x-scope = one%2Ctwo',
      OTEL_TRACES_SAMPLER_ARG: '0.05',
    })
    expect(loaded.OTEL_EXPORTER_OTLP_ENDPOINT).toBe('https://collector:4318/otlp')
    expect(Object.fromEntries(loaded.OTEL_EXPORTER_OTLP_HEADERS)).toEqual({
      Authorization: 'Basic YTpi=',
      'x-scope': 'one,two',
    })
    expect(loaded.OTEL_TRACES_SAMPLER_ARG).toBe(0.05)
    expect(load({})).toMatchObject({ OTEL_EXPORTER_OTLP_HEADERS: new Map(), OTEL_TRACES_SAMPLER_ARG: 1 })
  })

  it.each([
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318', 'not of the form http://host:port'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'http://me:s3cret@collector', 'has a user or a password'],
    ['OTEL_EXPORTER_OTLP_ENDPOINT', 'http://collector/?key=s3cret', 'has a query or a fragment'],
    ['OTEL_EXPORTER_OTLP_HEADERS', 'a=b,s3cret', 'entry 2 is not of the form name=value'],
    ['OTEL_EXPORTER_OTLP_HEADERS', 'a=s3cret%', 'entry 1 is not of the form name=value'],
    ['OTEL_EXPORTER_OTLP_HEADERS', 'a=s3cret%0Ab', 'entry 1 is not of the form name=value'],
    ['OTEL_TRACES_SAMPLER_ARG', '1.5', 'expected number, 0 to 1'],
    ['OTEL_TRACES_SAMPLER_ARG', '1e-2', 'expected number, 0 to 1'],
    ['OTEL_TRACES_SAMPLER_ARG', '5%', 'expected number, 0 to 1'],
  ])('%s=%s is refused, and the message shows no secret', (name, value, problem) => {
    let message = ''
    try {
      load({ [name]: value })
    } catch (error) {
      message = (error as Error).message
    }
    expect(message).toContain(`${name}: `)
    expect(message).toContain(problem)
    expect(message).not.toContain('s3cret')
  })
})
