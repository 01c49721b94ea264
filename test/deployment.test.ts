import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  ingressRules,
  ingressSettings,
  projectorRules,
  projectorSettings,
  readApiKeys,
  readerRules,
  readerSettings,
} from '@customer-stream/configuration'
import { loadSettings } from '@customer-stream/runtime'
import { kafkaRules, kafkaSettings } from '@customer-stream/runtime/kafka'
import { redisRules, redisSettings } from '@customer-stream/runtime/redis'
import { erasuresTopicName, stateTopicName, topicNames } from '@customer-stream/schemas'
import { describe, expect, it, onTestFinished } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { NO_PROMETHEUS, promtool } from './prometheus.ts'
import { REDIS_RULES, RIGHTS } from './standstill/rights.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (file: string) => readFileSync(join(root, file), 'utf8')

const EXAMPLES: Readonly<Record<string, string>> = {
  REDIS_URL: 'rediss://user:password@mymaster',
  READER_API_KEYS: JSON.stringify([{ name: 'a', sha256: '0'.repeat(64), scopes: ['read'], dealers: ['*'] }]),
}

/** Replaces each file of a secret by an example of its content. Leaves out certificates. */
const withExamples = (env: Readonly<Record<string, unknown>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => {
      const [, secret] = /^(\w+)_FILE$/.exec(name) ?? []
      if (secret === undefined) return [[name, String(value)]]
      return /_(?:SSL|TLS)_/.test(secret) ? [] : [[secret, EXAMPLES[secret] ?? 'main=example']]
    }),
  )

type Env = Readonly<Record<string, string>>
/** Loads settings as the program does. Throws if a setting is wrong or missing. */
const accept = {
  ingress: (env: Env) => loadSettings(ingressSettings, env, ingressRules),
  projector: (env: Env) => loadSettings(projectorSettings, env, projectorRules),
  reader: (env: Env) => loadSettings(readerSettings, env, readerRules),
  cli: (env: Env) => loadSettings({ ...kafkaSettings, ...redisSettings }, env, [...kafkaRules, ...redisRules]),
  topics: (env: Env) => loadSettings(kafkaSettings, env, kafkaRules),
}

/**
 * Returns the variables that are not settings. NAME_FILE, the file of a secret, also counts as a
 * setting.
 */
const unknownIn = (settings: object, env: Readonly<Record<string, unknown>>): string[] =>
  Object.keys(env).filter((name) => !(name in settings) && !(name.replace(/_FILE$/, '') in settings))

/** Returns a reason to skip a test if a program of the machine is missing. */
const missing = (program: string, ...words: readonly string[]): string | undefined => {
  if (spawnSync(program, words).status === 0) return undefined
  // The reason includes the arguments, because docker may be installed without its plugin compose.
  const reason = `this machine cannot run: ${[program, ...words].join(' ')}`
  // Vitest prints the reason of a skipped test only if the file has a failed test.
  process.stderr.write(`tests are skipped: ${reason}\n`)
  return reason
}

/** Runs a program. Returns its output, or "accepted" if it prints nothing and ends with 0. */
const outcomeOf = (program: string, ...words: readonly string[]): string => {
  const { status, stdout, stderr } = spawnSync(program, words, { cwd: root, encoding: 'utf8' })
  return status === 0 && stderr === '' ? stdout || 'accepted' : `${stdout}${stderr}`
}

describe('deploy/compose.production.yml', { timeout: 60_000 }, () => {
  interface Service {
    readonly image: string
    readonly environment?: Readonly<Record<string, unknown>>
    readonly ports?: readonly string[]
    readonly secrets?: readonly string[]
    readonly read_only?: boolean
    readonly cap_drop?: readonly string[]
    readonly mem_limit?: string
    readonly command?: readonly string[]
    readonly networks?: readonly string[] | Readonly<Record<string, { readonly aliases: readonly string[] }>>
  }
  const compose = parse(read('deploy/compose.production.yml'), { merge: true }) as {
    readonly name: string
    readonly services: Readonly<Record<string, Service>>
    readonly secrets: Readonly<Record<string, { readonly file: string }>>
  }
  const services = Object.entries(compose.services)
  const both = { ...ingressSettings, ...projectorSettings }
  const ours = {
    'ingress-1': ingressSettings,
    'ingress-2': ingressSettings,
    'projector-1': projectorSettings,
    'projector-2': projectorSettings,
    reader: readerSettings,
    cli: { ...both, SQLITE_TMPDIR: {} },
    topics: both,
  }
  const kindOf = (name: string) => name.replace(/-\d$/, '')

  it('the API key of docker-compose.yml may use every view of the console, and the first redrive works', () => {
    const { services: desk } = parse(read('docker-compose.yml')) as {
      readonly services: Readonly<Record<string, { readonly environment: Readonly<Record<string, unknown>> }>>
    }
    const env = desk.reader!.environment
    const settings = accept.reader(
      Object.fromEntries(Object.entries(env).map(([name, value]) => [name, String(value)])),
    )
    expect(settings).toMatchObject({
      KAFKA_CREATE_TOPICS: true,
      KAFKA_REPLICATION_FACTOR: 1,
      READER_API_KEYS: [{ scopes: ['read', 'pii', 'operate'], dealers: ['*'], sha256: hash('sha256', 'desk-key') }],
    })
  })

  it.each(Object.entries(ours))('the container %s has only settings that exist', (name, settings) => {
    expect(unknownIn(settings, compose.services[name]?.environment ?? {})).toEqual([])
  })

  it.each(Object.keys(ours))('the container %s accepts its settings', (name) => {
    const settings = withExamples(compose.services[name]?.environment ?? {})
    expect(() => accept[kindOf(name) as keyof typeof accept](settings)).not.toThrow()
  })

  it.for(['docker-compose.yml', 'deploy/compose.production.yml'])('docker compose accepts %s', (file, context) => {
    const noCompose = missing('docker', 'compose', 'version')
    context.skip(noCompose !== undefined, noCompose)
    const env = ['KAFKA_CLUSTER_ID=example', 'PUBLIC_HOST=hooks.example.com']
    expect(outcomeOf('env', ...env, 'docker', 'compose', '--file', file, 'config', '--quiet')).toBe('accepted')
  })

  it('the production compose file opens only the webhook to other machines', () => {
    const open = services.flatMap(([name, { ports = [] }]) =>
      ports.filter((port) => !port.startsWith('127.0.0.1:')).map((port) => `${name} ${port}`),
    )
    expect(open).toEqual(['proxy 80:80', 'proxy 443:443'])
  })

  it('each image that is not ours has one pinned version', () => {
    const foreign = services.map(([, { image }]) => image).filter((image) => !image.startsWith('customer-stream/'))
    expect(foreign.filter((image) => !/^[\w/-]+:v?\d+\.\d+(?:\.\d+)?(?:-alpine)?$/.test(image))).toEqual([])
    expect(foreign.length).toBeGreaterThan(5)
  })

  it('each of our containers has a read-only file system, no privileges, and a memory limit', () => {
    for (const name of Object.keys(ours))
      expect(compose.services[name]).toMatchObject({
        read_only: true,
        cap_drop: ['ALL'],
        mem_limit: expect.stringMatching(/^\d+[mg]$/),
      })
  })

  it('each container gets exactly the secrets that its program reads', () => {
    const files = ['redis.conf', 'sentinel.conf', 'kafka-users.sh'].map((name) => read(`deploy/compose/${name}`))
    const [redis, sentinel, users] = files.map((text) => text.replaceAll('$user', 'ingress'))
    for (const [name, service] of services) {
      const mounted = { redis, sentinel, 'kafka-users': users }[kindOf(name)] ?? ''
      const named = `${JSON.stringify(service)} ${mounted}`.matchAll(/\/run\/secrets\/([\w.-]+)/g)
      const others = ['projector', 'reader', 'operator'].map((user) => `kafka-${user}.password`)
      const own = name === 'kafka-users' ? others : []
      const expected = new Set([...[...named].map(([, file = '']) => file), ...own])
      expect([name, [...(service.secrets ?? [])].toSorted()]).toEqual([name, [...expected].toSorted()])
    }
  })

  it('promtool accepts the Prometheus configuration of the production compose file', (context) => {
    context.skip(promtool === undefined, NO_PROMETHEUS)
    const folder = mkdtempSync(join(tmpdir(), 'prometheus-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'prometheus.yml')
    const rules = join(root, 'deploy/prometheus/')
    writeFileSync(file, read('deploy/compose/prometheus.yml').replace('/etc/prometheus/rules/', rules))
    expect(outcomeOf(promtool!, 'check', 'config', file)).toContain('is valid prometheus config file syntax')
  })

  it('Prometheus of the production compose file names each container of the services', () => {
    const { scrape_configs: jobs } = parse(read('deploy/compose/prometheus.yml')) as {
      readonly scrape_configs: readonly { job_name: string; static_configs: [{ targets: readonly string[] }] }[]
    }
    for (const service of ['ingress', 'projector', 'reader'])
      expect(jobs.find((job) => job.job_name === `customer-stream-${service}`)?.static_configs[0].targets).toEqual(
        Object.keys(ours).flatMap((name) => (kindOf(name) === service ? [`${name}:9464`] : [])),
      )
  })

  it('the proxy and the reader of the production compose file find both ingresses by one name', () => {
    for (const name of ['ingress-1', 'ingress-2'])
      expect(compose.services[name]?.networks).toEqual({
        inside: { aliases: ['ingress'] },
        edge: { aliases: ['ingress'] },
      })
    expect(read('deploy/compose/Caddyfile')).toContain('dynamic a ingress 8080 {')
    expect(compose.services.reader?.environment?.INGRESS_ADMIN_URLS).toBe('http://ingress:9464')
  })

  /** Copies the scripts of the site into a new folder. */
  const placeScripts = () => {
    const folder = mkdtempSync(join(tmpdir(), 'secrets-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    cpSync(join(root, 'deploy/compose'), join(folder, 'compose'), { recursive: true })
    const secret = (name: string) => join(folder, 'secrets', name)
    return {
      folder,
      secret,
      make: () => spawnSync(join(folder, 'compose/make-secrets.sh'), { encoding: 'utf8' }),
      contents: () => readdirSync(secret('')).map((name) => [name, readFileSync(secret(name), 'utf8')]),
    }
  }

  it('make-secrets.sh makes each secret once, and closes the folder to other users', () => {
    const { folder, secret, make, contents } = placeScripts()
    expect(make()).toMatchObject({ status: 0 })
    const first = contents()
    expect(make()).toMatchObject({ status: 0 })
    expect(contents()).toEqual(first)
    expect(Object.values(compose.secrets).filter(({ file }) => !existsSync(join(folder, file)))).toEqual([])
    const of = (name: string) => readFileSync(secret(name), 'utf8')
    const urls = ['projector', 'reader', 'operator'].map((user) => of(`redis-${user}.url`))
    for (const url of urls)
      expect(() => loadSettings(redisSettings, { REDIS_URL: url, REDIS_SENTINELS: 'a' })).not.toThrow()
    const keys = readApiKeys(of('reader-api-keys.json'))
    expect(keys).toMatchObject([{ name: 'site', sha256: hash('sha256', of('reader-site.key')) }])
    expect(execFileSync('ls', ['-ld', secret('')], { encoding: 'utf8' })).toMatch(/^drwx------/)
  })

  it('make-secrets.sh keeps the other variables of compose.env', () => {
    const { secret, make } = placeScripts()
    make()
    const clusterId = readFileSync(secret('compose.env'), 'utf8')
    writeFileSync(secret('compose.env'), `PUBLIC_HOST=hooks.example.com\nVERSION=0.2.0\n${clusterId}`)
    expect(make()).toMatchObject({ status: 0 })
    const lines = readFileSync(secret('compose.env'), 'utf8').trim().split('\n')
    expect(lines).toEqual(['PUBLIC_HOST=hooks.example.com', 'VERSION=0.2.0', clusterId.trim()])
  })

  it('make-secrets.sh without ca.key keeps all certificates', () => {
    const { secret, make, contents } = placeScripts()
    make()
    rmSync(secret('ca.key'))
    const before = contents()
    expect(make()).toMatchObject({ status: 0 })
    expect(contents()).toEqual(before)
  })

  it.for([
    ['no ca.key', undefined, /^ca\.key is needed to sign redis\.pem/],
    ['a wrong ca.key', 'no key', /private key/i],
  ] as const)('make-secrets.sh with %s ends with an error, and changes no file', ([, wrongKey, message]) => {
    const { secret, make, contents } = placeScripts()
    make()
    const key = readFileSync(secret('ca.key'))
    rmSync(secret('ca.key'))
    if (wrongKey) writeFileSync(secret('ca.key'), wrongKey)
    rmSync(secret('redis.pem'))
    const before = contents()
    expect(make()).toMatchObject({ status: 1, stderr: expect.stringMatching(message) })
    expect(contents()).toEqual(before)

    writeFileSync(secret('ca.key'), key)
    expect(make()).toMatchObject({ status: 0 })
  })

  it('make-secrets.sh makes a certificate again if its file is empty', () => {
    const { secret, make } = placeScripts()
    make()
    writeFileSync(secret('redis.pem'), '')
    make()
    expect(spawnSync('openssl', ['verify', '-CAfile', secret('ca.pem'), secret('redis.pem')]).status).toBe(0)
    const [key, certificate] = ['redis.key', 'redis.pem'].map((name) => readFileSync(secret(name), 'utf8'))
    expect(readFileSync(secret('redis.store.pem'), 'utf8')).toBe(`${key}${certificate}`)
  })

  /** Runs the command of a container without Redis. Returns the settings that Redis would read. */
  const settingsAtStart = (name: string, env: Readonly<Record<string, string>>, file: string, before: string) => {
    const { folder, make } = placeScripts()
    make()
    writeFileSync(join(folder, 'redis-server'), '#!/bin/sh\nexit 0\n', { mode: 0o755 })
    if (before !== '') writeFileSync(join(folder, file), before)
    const command = (compose.services[name]?.command ?? []).map((word) =>
      word
        .replaceAll('$$', '$')
        .replaceAll(/(?<!include )\/etc\/redis/g, `${folder}/compose`)
        .replaceAll('/run/secrets', `${folder}/secrets`),
    )
    const [program = '', ...words] = command
    const environment = { ...process.env, ...env, PATH: `${folder}:${process.env.PATH}` }
    expect(spawnSync(program, words, { cwd: folder, env: environment }).status).toBe(0)
    return { lines: readFileSync(join(folder, file), 'utf8').split('\n'), folder }
  }

  it.each([
    ['the primary of a new site follows no server', {}, '', ''],
    ['a replica of a new site follows redis-1', { REPLICA_OF: 'redis-1' }, '', 'replicaof redis-1 6379'],
    ['a primary that Sentinel has chosen stays the primary', { REPLICA_OF: 'redis-1' }, 'maxmemory 1gb\n', ''],
    [
      'a replica keeps its primary, and takes a changed setting from redis.conf',
      {},
      'include /etc/redis/redis.conf\nmaxmemory 1gb\nmasterauth old\nreplicaof redis-2 6379\n',
      'replicaof redis-2 6379',
    ],
  ])('at the start of a Redis, %s', (_, env, before, primary) => {
    const { lines } = settingsAtStart('redis-1', { HOSTNAME: 'me', ...env }, 'redis.conf', before)
    expect(lines).toEqual(['include /etc/redis/redis.conf', 'replica-announce-ip me', primary, ''])
  })

  it('a Sentinel keeps its state, and reads all settings and passwords from the files', () => {
    const known = [
      'sentinel myid 0123',
      'sentinel monitor mymaster redis-2 6379 2',
      'sentinel known-replica mymaster redis-1 6379',
      'sentinel known-sentinel mymaster sentinel-2 26379 4567',
      'sentinel current-epoch 3',
      'sentinel config-epoch mymaster 3',
    ]
    const old = ['sentinel auth-pass mymaster old', 'requirepass old', 'sentinel down-after-milliseconds mymaster 1']
    const first = settingsAtStart('sentinel-1', { HOSTNAME: 'me' }, 'sentinel.conf', '').lines
    expect(first.filter((line) => line.startsWith('sentinel monitor'))).toEqual([
      'sentinel monitor mymaster redis-1 6379 2',
    ])
    const { lines, folder } = settingsAtStart('sentinel-1', {}, 'sentinel.conf', [...known, ...old, ''].join('\n'))
    expect(lines).toEqual(expect.arrayContaining(known))
    expect(lines.filter((line) => old.includes(line) || line.includes('monitor mymaster redis-1'))).toEqual([])
    const password = readFileSync(join(folder, 'secrets/sentinel.password'), 'utf8')
    expect(lines).toContain(`requirepass ${password}`)
    expect(lines).toContain('sentinel down-after-milliseconds mymaster 5000')
  })

  /** Returns the rights on topics in a row of docs/operating.md, as `OPERATION topic`. */
  const documentedRights = (row: string): string[] =>
    [...row.matchAll(/topics? ((?:`[\w.]+`(?:, )?)+): ([A-Z_, ]+)|(?<=; )(`[\w.]+`): ([A-Z_, ]+)/g)].flatMap(
      ([, names, operations, name, ofName]) =>
        [...(names ?? name ?? '').matchAll(/[\w.]+/g)].flatMap(([topic]) =>
          [...(operations ?? ofName ?? '').matchAll(/[A-Z_]+/g)].map(([operation]) => `${operation} ${topic}`),
        ),
    )
  /** Returns the rights on topics that kafka-users.sh gives to a user. */
  const grantedRights = (user: string): Set<string> => {
    const script = read('deploy/compose/kafka-users.sh').replaceAll('\\\n', '')
    return new Set(
      [...script.matchAll(new RegExp(`^allow ${user} (\\S+) +\\$\\(topics (.+)\\)$`, 'gm'))].flatMap(
        ([, operations = '', topics = '']) =>
          operations.split(',').flatMap((operation) => {
            const name = operation.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()
            return topics.split(' ').map((topic) => `${name} ${topic}`)
          }),
      ),
    )
  }
  const rightsRows = read('docs/operating.md')
    .split('\n## Least rights')[1]!
    .split('\n## ')[0]!
    .split('\n')
    .filter((line) => /^\| .*topics? `/.test(line))

  const USERS = ['ingress', 'projector', 'reader']
  it.each(USERS)('the user %s has the rights in Kafka that docs/operating.md names', (user) => {
    const row = rightsRows.find((line) => line.startsWith(`| ${user} |`)) ?? ''
    expect([...grantedRights(user)].toSorted()).toEqual([...new Set(documentedRights(row))].toSorted())
  })

  it.each(['ingress', 'projector'] as const)(
    'the standstill tests give the user %s exactly the documented rights',
    (user) => {
      const row = rightsRows.find((line) => line.startsWith(`| ${user} |`)) ?? ''
      const names = { ...topicNames(''), state: stateTopicName(''), erasures: erasuresTopicName('') }
      const rights = RIGHTS[user].map(([operation, resource]) =>
        resource in names ? `${operation} ${names[resource as keyof typeof names]}` : `${operation} ${resource}`,
      )
      const others = [
        ...(row.includes('the consumer group: READ') ? ['READ group'] : []),
        ...(row.includes('transactional ids that begin with the name of the group: WRITE')
          ? ['WRITE transactional ids']
          : []),
      ]
      expect(rights.toSorted()).toEqual([...new Set(documentedRights(row)), ...others].toSorted())
    },
  )

  const [basicCommands = '', redriveCommands = ''] = read('docs/operating.md')
    .split('\n## Least rights')[1]!
    .split('\n## ')[0]!
    .split('*for redrives* only')
  /** Returns the rights on topics that commands of docs/operating.md grant to a user. */
  const commandRights = (section: string, user: string): readonly string[] => {
    const granted = [...section.replaceAll('\\\n', '').matchAll(/^allow --allow-principal User:(\w+) (.+)$/gm)]
      .filter(([, name]) => name === user)
      .flatMap(([, , options = '']) => {
        const all = (option: string) =>
          [...options.matchAll(new RegExp(`--${option} (\\S+)`, 'g'))].map(([, value = '']) => value)
        const topics = all('topic').map((topic) => topic.replace(/^mykaarma\./, ''))
        return all('operation').flatMap((operation) => {
          const name = operation.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()
          return topics.map((topic) => `${name} ${topic}`)
        })
      })
    return [...new Set(granted)].toSorted()
  }
  it.each(USERS)(
    'the commands of docs/operating.md grant the user %s the rights that kafka-users.sh grants',
    (user) => {
      expect(commandRights(basicCommands, user)).toEqual([...grantedRights(user)].toSorted())
    },
  )

  it('the commands of docs/operating.md for redrives grant the reader exactly the documented rights', () => {
    const row = rightsRows.find((line) => line.startsWith('| reader, for redrives |')) ?? ''
    const rights = commandRights(redriveCommands, 'reader')
    expect(rights.length).toBeGreaterThan(0)
    expect(rights).toEqual(documentedRights(row).toSorted())
    expect(rights.filter((right) => grantedRights('reader').has(right))).toEqual([])
  })

  it('the Kafka user of the commands has the rights of each command, except redrive', () => {
    const granted = grantedRights('operator')
    const rows = rightsRows.flatMap((line) => {
      const [, command] = /^\| `(.+?)` \|/.exec(line) ?? []
      return command === undefined ? [] : [{ command, rights: documentedRights(line) }]
    })
    expect(rows.length).toBeGreaterThan(10)
    const lacking = rows.flatMap(({ command, rights }) =>
      rights
        // The right to read includes the right to describe.
        .filter((right) => !granted.has(right) && !granted.has(right.replace(/^DESCRIBE /, 'READ ')))
        .map((right) => `${command}: ${right}`),
    )
    expect(lacking).toEqual(['customers.raw', 'other.raw'].map((name) => `quarantine redrive --execute: WRITE ${name}`))
    const needed = new Set(rows.flatMap(({ rights }) => rights))
    expect([...granted].filter((right) => !needed.has(right))).toEqual([])
  })

  const rightsIn = (text: string, before: string) =>
    [...(text.split(before)[1]?.split(/```|\nuser /)[0] ?? '').matchAll(/(?<=\s)[+~][\w:*|]+/g)].map(([right]) => right)

  it('the standstill tests give the projector exactly the rights in Redis that docs/operating.md lists', () => {
    const documented = rightsIn(read('docs/operating.md'), 'ACL SETUSER projector on ')
    expect(REDIS_RULES.toSorted()).toEqual(documented.toSorted())
  })

  it.each(['projector', 'reader'])('the Redis user %s has the rights that docs/operating.md lists', (user) => {
    const script = read('deploy/compose/make-secrets.sh')
    const [, keys = ''] = /^KEYS='(.+)'$/m.exec(script) ?? []
    const documented = rightsIn(read('docs/operating.md'), `ACL SETUSER ${user} on `)
    expect(documented.length).toBeGreaterThan(8)
    expect(rightsIn(script.replaceAll('$KEYS', keys), `user ${user} on`)).toEqual(documented)
  })

  it('the Redis user operator has the rights of each command that docs/operating.md lists, and no other', () => {
    const operating = read('docs/operating.md')
    const rows = [...operating.matchAll(/^\| `([a-z-]+(?: [a-z-]+)*)` \|.*\|(.*\+ping.*)\|$/gm)]
    expect(rows.length).toBeGreaterThan(9)
    const commandsIn = (text: string) => new Set([...text.matchAll(/\+[a-z|]+/g)].map(([right]) => right))
    const repair = /\| `verify --repair --execute` \|.*/.exec(operating)?.[0] ?? ''
    const needed = commandsIn(rows.map(([, , rights]) => rights).join() + repair)
    const [, granted = ''] = /^user operator on (.+)$/m.exec(read('deploy/compose/make-secrets.sh')) ?? []
    expect([...commandsIn(granted)].sort()).toEqual([...needed].sort())
  })

  it('the Redis user projector has the right to each command in the Lua scripts', () => {
    const granted = rightsIn(read('docs/operating.md'), 'ACL SETUSER projector on ')
    const folder = 'services/projector/src/lua'
    const scripts = readdirSync(join(root, folder)).map((name) => read(`${folder}/${name}`))
    const called = scripts.flatMap((text) =>
      [...text.matchAll(/redis\.p?call\('([A-Z]+)'/g)].map(([, name = '']) => name),
    )
    expect(called.length).toBeGreaterThan(20)
    expect(called.filter((name) => !granted.includes(`+${name.toLowerCase()}`))).toEqual([])
  })

  it('the Redis user default may not log in, but has all rights, because Redis may load its file as this user', () => {
    const line = /^user default .*$/m.exec(read('deploy/compose/make-secrets.sh'))?.[0]
    expect(line).toBe('user default off ~* &* +@all')
  })
})

describe('Dockerfile', () => {
  /**
   * The instructions of each image, by its name. A line that ends with \\ is joined with the next
   * line.
   */
  const stages = new Map(
    read('Dockerfile')
      .replaceAll(/^#.*\n/gm, '')
      .replaceAll(/\\\n\s*/g, '')
      .split(/^FROM \S+ AS /m)
      .slice(1)
      .map((stage) => [stage.split('\n')[0], stage.split('\n').slice(1)] as const),
  )
  const last = (stage: string, name: string) =>
    stages
      .get(stage)
      ?.findLast((line) => line.startsWith(`${name} `))
      ?.slice(name.length + 1) ?? ''

  it.each([
    ['service', 'CMD'],
    ['cli', 'ENTRYPOINT'],
  ])('the image %s starts Node without a shell or npm, as a user without rights, and has labels', (stage, command) => {
    expect(last(stage, 'USER')).toBe('node')
    expect(JSON.parse(last(stage, command))).toEqual(expect.arrayContaining(['node']))
    for (const label of ['title', 'version', 'revision'])
      expect(last(stage, 'LABEL')).toContain(`org.opencontainers.image.${label}="`)
  })

  it.each([
    ['service', 'CMD'],
    ['cli', 'ENTRYPOINT'],
  ])('the build of the image %s fills the compile cache as the user and with the flags of a start', (stage, start) => {
    const lines = stages.get(stage) ?? []
    const fill = lines.findIndex((line) => line.startsWith('RUN '))
    const words = (JSON.parse(last(stage, start)) as string[]).join(' ')
    expect(lines[fill]).toContain(words)
    const before = lines.slice(0, fill)
    expect(before).toContain('USER node')
    expect(before.some((line) => line.startsWith('ENV NODE_COMPILE_CACHE='))).toBe(true)
  })

  it('the health check of an image asks /livez, and the health checks of both compose files ask /readyz', () => {
    const check = /HEALTHCHECK .*CMD (\[.+\])/.exec(stages.get('service')?.join('\n') ?? '')?.[1] ?? '[]'
    const words = ['node', '/app/packages/runtime/health-check.js']
    expect(JSON.parse(check)).toEqual([...words, 'livez'])
    for (const [file, names] of [
      ['docker-compose.yml', ['ingress', 'projector', 'reader']],
      ['deploy/compose.production.yml', ['ingress-1', 'ingress-2', 'projector-1', 'projector-2', 'reader']],
    ] as const)
      for (const name of names) {
        const { services } = parse(read(file), { merge: true })
        expect(services[name].healthcheck.test).toEqual(['CMD', ...words, 'readyz'])
      }
    expect(read('.dockerignore')).toContain('\n!packages/runtime/health-check.js\n')
  })

  it.each([
    ['service', ['services/ingress', 'services/projector', 'services/reader']],
    ['cli', ['packages/cli']],
  ])('the image %s has the source code of each package that its program imports', (stage, programs) => {
    const packagesOf = (folder: string): string[] =>
      Object.keys(JSON.parse(read(`${folder}/package.json`)).dependencies)
        .filter((name) => name.startsWith('@customer-stream/'))
        .map((name) => name.replace('@customer-stream/', 'packages/'))
        .flatMap((each) => [each, ...packagesOf(each)])
    const needed = new Set(programs.flatMap(packagesOf))
    const copied = (stages.get(stage) ?? []).flatMap((line) => /^COPY (packages\/\w+) /.exec(line)?.[1] ?? [])
    const sent = [...read('.dockerignore').matchAll(/^!(.+)\/src$/gm)].map(([, folder]) => folder)
    expect(copied).toEqual(expect.arrayContaining([...needed]))
    expect(sent).toEqual(expect.arrayContaining([...needed, ...programs]))
  })
})

it.each([
  ['ADMIN_HOST', '127.0.0.3', { ADMIN_HOST: '127.0.0.3', HOST: '127.0.0.2' }],
  ['HOST', '127.0.0.3', { HOST: '127.0.0.3' }],
  ['HOST for every address', '0.0.0.0', { HOST: '0.0.0.0' }],
  ['no setting', '127.0.0.1', { ADMIN_HOST: '', HOST: '' }],
])('the health check reaches the admin port with %s', async (_, address, env) => {
  const server = createServer(({ url }, response) => response.writeHead(url === '/livez' ? 200 : 503).end())
  onTestFinished(() => void server.close())
  await new Promise<void>((resolve) => server.listen(0, address, resolve))
  const { port } = server.address() as AddressInfo
  const codeOf = (path: string) =>
    new Promise((resolve) => {
      const check = spawn(process.execPath, ['packages/runtime/health-check.js', path], {
        cwd: root,
        env: { ...env, ADMIN_PORT: String(port) },
      })
      check.on('exit', resolve)
    })
  expect([await codeOf('livez'), await codeOf('readyz')]).toEqual([0, 1])
})

describe('deploy/helm/customer-stream', { timeout: 60_000 }, () => {
  const chart = 'deploy/helm/customer-stream'
  type Part = { readonly settings?: Record<string, unknown>; readonly secrets?: Record<string, unknown> }
  type Values = Part & Record<'ingress' | 'projector' | 'reader' | 'verify', Part>
  const both = { ...ingressSettings, ...projectorSettings }
  const noHelm = missing('helm', 'version')
  const noKubeconform = missing('kubeconform', '-v')
  const render = (...words: readonly string[]) =>
    outcomeOf(
      'helm',
      'template',
      'site',
      chart,
      '--kube-version',
      '1.33.0',
      '--values',
      `${chart}/example-values.yaml`,
      ...words,
    )

  it.each(['values.yaml', 'example-values.yaml'])('the chart file %s names only settings that exist', (file) => {
    const { ingress, projector, reader, verify, ...common } = parse(read(`${chart}/${file}`)) as Values
    const unknown = [
      [ingress, ingressSettings] as const,
      [projector, projectorSettings] as const,
      [reader, readerSettings] as const,
      [verify, projectorSettings] as const,
      [common, both] as const,
    ].flatMap(([part, settings]) => unknownIn(settings, { ...part?.settings, ...part?.secrets }))
    expect(unknown).toEqual([])
  })

  it('the chart has the version of the packages', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string }
    expect(parse(read(`${chart}/Chart.yaml`))).toMatchObject({ version, appVersion: version })
  })

  it('helm lint accepts the chart', (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const words = ['lint', '--strict', '--quiet', chart, '--values', `${chart}/example-values.yaml`]
    expect(outcomeOf('helm', ...words)).toBe('accepted')
  })

  interface Container {
    readonly name: string
    readonly image: string
    readonly env: readonly { readonly name: string; readonly value: string }[]
  }
  interface Pod {
    readonly serviceAccountName?: string
    readonly containers: readonly Container[]
  }
  interface Parts {
    readonly kind: string
    readonly metadata: { readonly name: string }
    readonly spec: {
      readonly template?: { readonly spec: Pod }
      readonly jobTemplate?: { readonly spec: { readonly template: { readonly spec: Pod } } }
      readonly behavior?: { readonly scaleDown?: object }
      readonly metrics?: readonly object[]
      readonly egress?: readonly object[]
      readonly ingress?: readonly object[]
    }
  }
  const objectsOf = (...words: readonly string[]): readonly Parts[] =>
    parseAllDocuments(render(...words)).map((document) => document.toJS() as Parts)
  const podsOf = (objects: readonly Parts[]) =>
    objects.flatMap(({ spec }) => spec.template?.spec ?? spec.jobTemplate?.spec.template.spec ?? [])

  it('each program accepts the settings that the chart gives its pod', (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const containers = podsOf(objectsOf()).flatMap((pod) => pod.containers)
    expect(containers.map(({ name }) => name).toSorted()).toEqual(['ingress', 'projector', 'reader', 'verify'])
    for (const { name, env } of containers) {
      const given = withExamples(Object.fromEntries(env.map((variable) => [variable.name, variable.value])))
      expect(() =>
        accept[name === 'verify' ? 'cli' : (name as 'ingress' | 'projector' | 'reader')](given),
      ).not.toThrow()
    }
  })

  it('autoscaling never removes an ingress with a spool, because events may be on the disk of the spool', (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const scalerOf = (...words: readonly string[]) =>
      objectsOf(...words).find(
        ({ kind, metadata }) => kind === 'HorizontalPodAutoscaler' && metadata.name.endsWith('ingress'),
      )
    const scaled = ['--set', 'ingress.autoscaling.enabled=true', '--set']
    const withSpool = scalerOf(...scaled, 'ingress.spool.enabled=true')
    expect(withSpool?.spec.behavior).toEqual({ scaleDown: { selectPolicy: 'Disabled' } })
    expect(scalerOf(...scaled, 'ingress.spool.enabled=false')?.spec).not.toHaveProperty('behavior')
    expect(scalerOf()).toBeUndefined()
  })

  it("each pod has the service account and the allowed connections that the chart's values name", (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const rules = [{ ports: [{ port: 9098 }] }, { ports: [{ port: 443 }] }]
    const objects = objectsOf(
      '--set',
      'serviceAccountName=msk',
      '--set-json',
      `networkPolicy.egress=${JSON.stringify(rules)}`,
    )
    expect(podsOf(objects).map(({ serviceAccountName }) => serviceAccountName)).toEqual(['msk', 'msk', 'msk', 'msk'])
    const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy')
    expect(policies.length).toBe(4)
    for (const { spec } of policies) expect(spec.egress).toEqual(expect.arrayContaining(rules))
  })

  it('the network policy lets commands reach all admin ports, even if else only Prometheus may', (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const prometheus = [{ podSelector: { matchLabels: { app: 'prometheus' } } }]
    const policies = objectsOf('--set-json', `networkPolicy.monitoring=${JSON.stringify(prometheus)}`).filter(
      ({ kind }) => kind === 'NetworkPolicy',
    )
    const policyOf = (part: string) => policies.find(({ metadata }) => metadata.name.endsWith(part))?.spec
    const peer = (part: string) => ({
      podSelector: { matchLabels: expect.objectContaining({ 'app.kubernetes.io/component': part }) },
    })
    expect(policyOf('cli')?.egress).toContainEqual({
      ports: [{ port: 9464 }],
      to: [peer('ingress'), peer('projector'), peer('reader')],
    })
    for (const part of ['projector', 'reader'])
      expect(policyOf(part)?.ingress).toContainEqual({ ports: [{ port: 'admin' }], from: [...prometheus, peer('cli')] })
    expect(policyOf('ingress')?.ingress).toContainEqual({
      ports: [{ port: 'admin' }],
      from: [...prometheus, peer('cli'), peer('reader')],
    })
    expect(policyOf('reader')?.egress).toContainEqual({ ports: [{ port: 9464 }], to: [peer('ingress')] })
    const open = objectsOf().find(({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name.endsWith('ingress'))
    expect(open?.spec.ingress).toContainEqual({ ports: [{ port: 'admin' }], from: [{ namespaceSelector: {} }] })
  })

  it('the chart turns the file of alert rules into a PrometheusRule', (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const file = 'deploy/prometheus/customer-stream.rules.yml'
    const rule = objectsOf('--set-file', `prometheusRule.rules=${file}`).find(({ kind }) => kind === 'PrometheusRule')
    expect(rule?.spec).toEqual(parse(read(file)))
    expect(objectsOf().map(({ kind }) => kind)).not.toContain('PrometheusRule')
  })

  it('each service can have its own tag, so that an upgrade changes one service after the other', (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const imagesOf = (tags: string) =>
      podsOf(objectsOf('--set', tags)).flatMap((pod) => pod.containers.map(({ image }) => image.split('/').at(-1)))
    expect(imagesOf('image.tag=new').toSorted()).toEqual(['cli:new', 'ingress:new', 'projector:new', 'reader:new'])
    for (const old of ['ingress', 'projector', 'reader'])
      expect(imagesOf(`image.tag=new,${old}.tag=old`).filter((image) => !image?.endsWith(':new'))).toEqual([
        `${old}:old`,
      ])
  })

  it.for([
    ['no brokers', 'settings=null', 'settings'],
    ['a password among the settings', 'settings.KAFKA_SASL_PASSWORD=x', 'KAFKA_SASL_PASSWORD'],
    ['another admin port than the probes have', 'settings.ADMIN_PORT=9999', 'ADMIN_PORT'],
    ['API keys among the settings', 'reader.settings.READER_API_KEYS=x', 'READER_API_KEYS'],
    ['another host than the probes have', 'ingress.settings.HOST=127.0.0.1', 'HOST'],
    ['an unknown value', 'ingress.replica=3', 'replica'],
    ['a secret without a key', 'secrets.KAFKA_SSL_CA.key=null', 'key'],
  ] as const)('the chart refuses %s', ([, value, named], context) => {
    context.skip(noHelm !== undefined, noHelm)
    expect(render('--set', value)).toMatch(new RegExp(`values don't meet the specifications[^]*${named}`))
  })

  it.for([
    ['a spool', []],
    [
      'no spool, verify or network policy',
      ['--set', 'ingress.spool.enabled=false,verify.enabled=false,networkPolicy.enabled=false'],
    ],
    ['no reader', ['--set', 'reader.enabled=false']],
  ] as const)("kubeconform accepts the chart's objects with %s", ([, words], context) => {
    const skip = noHelm ?? noKubeconform
    context.skip(skip !== undefined, skip)
    const folder = mkdtempSync(join(tmpdir(), 'chart-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'objects.yaml')
    writeFileSync(file, render(...words))
    // kubeconform downloads the schemas, unless this variable names a copy.
    const { KUBERNETES_SCHEMAS: schemas = 'default' } = process.env
    const outcome = outcomeOf('kubeconform', '-strict', '-skip', 'PodMonitor', '-schema-location', schemas, file)
    const noSchemas = outcome.includes('failed downloading schema') && 'kubeconform cannot download the schemas'
    if (noSchemas) process.stderr.write(`a test is skipped: ${noSchemas}\n`)
    context.skip(noSchemas !== false, noSchemas || undefined)
    expect(outcome).toBe('accepted')
  })

  it('each pod of a service has probes, spreads over nodes, and runs without privileges', (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const objects = objectsOf()
    for (const part of ['ingress', 'projector', 'reader']) {
      const labels = { 'app.kubernetes.io/component': part }
      const selector = { matchLabels: expect.objectContaining(labels) }
      const [pod] = podsOf(objects).filter(({ containers }) => containers[0]?.name === part)
      const alive = { httpGet: { path: '/livez', port: 'admin' } }
      const isPublic = part !== 'projector'
      const readiness = isPublic ? { path: '/healthz', port: 'http' } : { path: '/readyz', port: 'admin' }
      expect(pod?.containers).toMatchObject([
        {
          ports: expect.arrayContaining([{ name: 'admin', containerPort: projectorSettings.ADMIN_PORT.default }]),
          startupProbe: alive,
          livenessProbe: alive,
          readinessProbe: { httpGet: readiness },
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
        },
      ])
      expect(pod).toMatchObject({
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
        affinity: {
          podAntiAffinity: {
            preferredDuringSchedulingIgnoredDuringExecution: [
              { podAffinityTerm: { topologyKey: 'kubernetes.io/hostname', labelSelector: selector } },
            ],
          },
        },
      })
      const budget = objects.find(
        ({ kind, metadata }) => kind === 'PodDisruptionBudget' && metadata.name.endsWith(part),
      )
      expect(budget?.spec).toMatchObject({ maxUnavailable: 1, selector })
    }
  })

  it("the chart has no objects for the reader unless the chart's values switch the reader on", (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const readers = (...words: readonly string[]) =>
      objectsOf(...words).flatMap(({ kind, metadata }) => (metadata.name.endsWith('reader') ? [kind] : []))
    expect(readers('--set', 'reader.enabled=false')).toEqual([])
    expect(readers().toSorted()).toEqual([
      ...['Deployment', 'HorizontalPodAutoscaler', 'Ingress', 'NetworkPolicy', 'PodDisruptionBudget', 'PodMonitor'],
      'Service',
    ])
  })

  it('the network policy lets only the named peers reach the public port of the reader', (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const crm = [{ podSelector: { matchLabels: { app: 'crm' } } }]
    const policy = objectsOf('--set-json', `networkPolicy.readers=${JSON.stringify(crm)}`).find(
      ({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name.endsWith('reader'),
    )
    expect(policy?.spec.ingress).toContainEqual({ ports: [{ port: 'http' }], from: crm })
    expect(policy?.spec.egress).toContainEqual({ ports: [{ port: 6379 }, { port: 26379 }] })
  })

  it('the reader gets one host name for the admin ports of all ingresses', (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const objects = objectsOf()
    const service = objects.find(({ kind, metadata }) => kind === 'Service' && metadata.name.endsWith('ingress-admin'))
    expect(service?.spec).toMatchObject({ clusterIP: 'None', ports: [{ port: 9464, targetPort: 'admin' }] })
    const containers = podsOf(objects).flatMap((pod) => pod.containers)
    const reader = containers.find(({ name }) => name === 'reader')
    expect(reader?.env).toContainEqual({
      name: 'INGRESS_ADMIN_URLS',
      value: `http://${service?.metadata.name}:9464`,
    })
  })

  it('the chart can scale the readers by CPU', (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const scaler = objectsOf().find(
      ({ kind, metadata }) => kind === 'HorizontalPodAutoscaler' && metadata.name.endsWith('reader'),
    )
    expect(scaler?.spec.metrics).toMatchObject([{ type: 'Resource', resource: { name: 'cpu' } }])
  })

  it("the projectors scale by CPU, and also by the lag if the chart's values name a metric of the lag", (context) => {
    context.skip(noHelm !== undefined, noHelm)
    const metricsOf = (...words: readonly string[]) =>
      objectsOf('--set', 'projector.autoscaling.enabled=true', ...words).find(
        ({ kind, metadata }) => kind === 'HorizontalPodAutoscaler' && metadata.name.endsWith('projector'),
      )?.spec.metrics
    const cpu = { type: 'Resource', resource: { name: 'cpu' } }
    const lag = { type: 'External', external: { metric: { name: 'lag' }, target: { averageValue: '500' } } }
    expect(metricsOf('--set', 'projector.autoscaling.lagMetric=')).toMatchObject([cpu])
    const byLag = 'projector.autoscaling.lagMetric=lag,projector.autoscaling.lagPerPod=500'
    expect(metricsOf('--set', byLag)).toMatchObject([cpu, lag])
  })
})

describe.each(['ingress', 'projector', 'reader'] as const)(
  'deploy/systemd/customer-stream-%s.service',
  { timeout: 60_000 },
  (service) => {
    const unit = read(`deploy/systemd/customer-stream-${service}.service`)
    const all = (name: string) => [...unit.matchAll(new RegExp(`^${name}=(.+)$`, 'gm'))].map(([, value = '']) => value)
    const noSystemd = missing('systemd-analyze', '--version')

    it(`the unit of the ${service} names only settings that exist, and credentials that it loads`, () => {
      const settings = { ingress: ingressSettings, projector: projectorSettings, reader: readerSettings }[service]
      const env = Object.fromEntries(all('Environment').map((assignment) => assignment.split('=')))
      expect(unknownIn({ ...settings, NODE_COMPILE_CACHE: {} }, env)).toEqual([])
      const used = Object.values<string>(env).flatMap((value) => /^%d\/(.+)$/.exec(value)?.[1] ?? [])
      expect(used.toSorted()).toEqual(
        all('LoadCredential')
          .map((credential) => credential.split(':')[0])
          .toSorted(),
      )
    })

    it(`the unit of the ${service} runs the command of npm start`, () => {
      const { scripts } = JSON.parse(read(`services/${service}/package.json`)) as { scripts: { start: string } }
      expect(all('ExecStart')).toEqual([`/usr/bin/env ${scripts.start.split(' exec ')[1]}`])
    })

    it(`systemd accepts the unit of the ${service}`, (context) => {
      context.skip(noSystemd !== undefined, noSystemd)
      const folder = mkdtempSync(join(tmpdir(), 'unit-'))
      onTestFinished(() => rmSync(folder, { recursive: true }))
      const file = join(folder, `customer-stream-${service}.service`)
      writeFileSync(file, unit)
      expect(outcomeOf('systemd-analyze', 'verify', '--man=no', file)).toBe('accepted')
    })
  },
)
