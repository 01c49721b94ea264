import { hash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ingressSettings, projectorSettings, readerSettings } from '@customer-stream/configuration'
import { describe, expect, it, onTestFinished } from 'vitest'
import { parse } from 'yaml'
import { NO_PROMETHEUS, promtool } from '../prometheus.ts'
import { accept, compose, missing, outcomeOf, read, root, unknownIn, withExamples } from './deployment-files.ts'

describe('deploy/compose.production.yml', { timeout: 60_000 }, () => {
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

  // A container that compose makes with --no-deps has another hash, so the next `up` replaces it.
  it.each(['docs/upgrading.md', 'docs/deploying.md'])('%s replaces no container without its dependencies', (file) => {
    const named = [...read(file).matchAll(/up -d --wait --no-deps ([^`\n]+)/g)].map(([, name]) => name!)
    expect(named.filter((name) => !compose.services[name] || 'depends_on' in compose.services[name])).toEqual([])
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
})
