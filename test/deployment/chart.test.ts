import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ingressSettings, projectorSettings, readerSettings } from '@customer-stream/configuration'
import { describe, expect, it, onTestFinished } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { accept, missing, outcomeOf, read, unknownIn, withExamples } from './deployment-files.ts'

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

  it('the network policy lets commands reach all admin ports, even if its values name only Prometheus', (context) => {
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
