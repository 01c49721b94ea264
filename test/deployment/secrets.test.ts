import { execFileSync, spawnSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readApiKeys } from '@customer-stream/configuration'
import { loadSettings } from '@customer-stream/runtime'
import { redisSettings } from '@customer-stream/runtime/redis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { compose, root } from './deployment-files.ts'

describe('deploy/compose.production.yml', { timeout: 60_000 }, () => {
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

  it('make-secrets.sh keeps all certificates if ca.key is missing', () => {
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
})
