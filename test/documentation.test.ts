import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { indexTerms } from '@customer-stream/indexes'
import { LOG_EVENTS } from '@customer-stream/runtime'
import {
  customerToHash,
  indexNames,
  META,
  parseEvent,
  QUARANTINE_REASONS,
  readState,
  type StateRecordFault,
  stateOf,
  topicNames,
} from '@customer-stream/schemas'
import { describe, expect, it } from 'vitest'
import { readResults, reportFiles } from '../bench/report/report.ts'
import { REFUSED_BY_KAFKA } from '../services/ingress/src/delivery/quarantine.ts'
import { problems } from '../services/ingress/src/http/problem.ts'
import { quarantineReasons } from '../services/projector/src/metrics.ts'
import { problems as readerProblems } from '../services/reader/src/http/problem.ts'
import { configurationFile, configurationPage } from '../tools/generate-configuration.ts'
import { contractFiles, contractFolder } from '../tools/generate-contract.ts'
import { metricsFile, metricsPage, openRegistries } from '../tools/generate-metrics.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'packages/schemas/README.md',
  'packages/subscriber/README.md',
  'packages/schemas/conformance/README.md',
  'examples/README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]
/** Quarantine reasons that only the projector uses. */
const OF_THE_PROJECTOR: readonly string[] = ['named-by-setting', 'unreadable-batch']
/**
 * All reasons that the reader of the state topic returns. If one is missing here, the type check
 * fails.
 */
const STATE_FAULTS = {
  'not-utf8': 1,
  'not-json': 1,
  'nested-too-deep': 1,
  'not-a-state-document': 1,
  'missing-key': 1,
  'invalid-key': 1,
  'wrong-key': 1,
} satisfies Record<StateRecordFault, 1>
/** The upgrade guide also names metrics, commands and settings that earlier releases had. */
const UPGRADE_GUIDE = 'docs/upgrading.md'
const read = (page: string) => readFileSync(join(root, page), 'utf8')
const withoutCode = (markdown: string) => markdown.replace(/```.*?```/gs, '')
/** Converts a heading to its anchor, like GitHub. */
const anchorsOf = (markdown: string) =>
  [...withoutCode(markdown).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\- _]/gu, '')
      .replaceAll(' ', '-'),
  )

it('docs/configuration.md agrees with the settings schemas (if not: npm run docs)', () => {
  expect(readFileSync(configurationFile, 'utf8')).toBe(configurationPage())
})

it('docs/metrics.md agrees with the registries and the log events (if not: npm run docs)', async () => {
  expect(readFileSync(metricsFile, 'utf8')).toBe(await metricsPage())
})

it('packages/schemas/contract agrees with the schemas (if not: npm run docs)', () => {
  const files = readdirSync(contractFolder).map((name) => [name, readFileSync(contractFolder + name, 'utf8')])
  expect(Object.fromEntries(files)).toEqual(contractFiles())
})

/** Returns the answers that a section of docs/contracts.md lists. */
const answersIn = (section: string) => {
  const [, text = ''] = read('docs/contracts.md').split(`\n## ${section}\n`)
  return [...text.split('\n## ')[0]!.matchAll(/^\| (\d{3}) \| (?:`([\w-]+)`)? ?\|/gm)]
    .map(([, status, type]) => `${status} ${type ?? ''}`.trim())
    .toSorted()
}

it.each([
  ['ingress', 'HTTP', ['202'], problems],
  ['reader', 'The reader', ['200', '304'], readerProblems],
])(
  'docs/contracts.md lists exactly the answers that the %s gives, with their status codes',
  (_, section, others, known) => {
    const answers = Object.entries(known).map(([type, { status }]) => `${status} ${type}`)
    expect(answersIn(section)).toEqual([...others, ...answers].toSorted())
  },
)

it('docs/contracts.md explains exactly the reasons of quarantine', () => {
  const [, table = ''] = read('docs/contracts.md').split('#### Reasons')
  const rows = [...table.split('\n## ')[0]!.matchAll(/^\| `([\w-]+)` \| ([^|(]+?) (?:\||\()/gm)]
  expect(rows.map(([, reason, text]) => [reason, text])).toEqual(Object.entries(QUARANTINE_REASONS))
})

it('the command quarantine show explains each reason that a service writes', () => {
  expect(Object.keys(QUARANTINE_REASONS)).toEqual(expect.arrayContaining([...quarantineReasons, REFUSED_BY_KAFKA]))
})

it('docs/operating.md has an alarm for each answer that refuses a request', () => {
  const [, watch = ''] = read('docs/operating.md').split('## What to watch')
  const rows = watch
    .split('\n')
    .filter((line) => line.includes('ingress_answers_total') || line.includes('ingress_sender_refusals_total'))
  expect(
    Object.keys(problems).filter(
      (type) => !rows.some((row) => row.includes(`"${type}"`) || row.includes(`\`${type}\``)),
    ),
  ).toEqual([])
})

it('README.md shows the hash that our code makes from the example event', () => {
  const [, event = '', hash = ''] = /```json\n(.*?)```.*?```\n(customerUuid .*?)```/s.exec(read('README.md')) ?? []
  const parsed = parseEvent(Buffer.from(event))
  if (!parsed.ok || parsed.value.kind !== 'customers') throw new Error('the README has no event of a customer')
  const provenance = { receivedAt: 1728542294120, appliedAt: 1728542294131, topic: topicNames().customers }
  const made = customerToHash(parsed.value, { ...provenance, partition: 3, offset: '1041', projection: 1 })
  if (!made.ok) throw new Error(made.detail)
  const fields = made.value.fieldsAndValues
  const line = (name: string, value = '') => `${name.padEnd(17)}${value}`
  const lines = fields.flatMap((name, i) => (i % 2 === 0 ? [line(name, fields[i + 1])] : []))
  const state = stateOf(parsed.value, { ...provenance, partition: 3, offset: '1041' })
  if (!state.ok) throw new Error(state.detail)
  lines.push(line(META.index, JSON.stringify(indexTerms(state.value, { indexes: indexNames, country: 'US' }))))
  expect(hash.trim().split('\n').toSorted()).toEqual(lines.toSorted())
})

it('docs/architecture.md explains exactly the patches of kafkajs', () => {
  const folder = 'packages/runtime/src/kafka/patches'
  const patches = readdirSync(join(root, folder)).filter((name) => !/^index\.ts$|\.test\.ts$/.test(name))
  const [, table = ''] = read('docs/architecture.md').split('## Patches of kafkajs')
  const rows = [...table.split('\n## ')[0]!.matchAll(/^\| `([\w-]+\.ts)` \|/gm)].map(([, name]) => name)
  expect(rows).toHaveLength(new Set(rows).size)
  expect(rows.toSorted()).toEqual(patches.toSorted())
})

it('docs/subscribing.md shows a state document and a raw record that readers accept', () => {
  const samples = [...read('docs/subscribing.md').matchAll(/```jsonc\n(.*?)```/gs)].map(([, text = '']) =>
    Buffer.from(text.replaceAll(/\s*\/\/ .*$/gm, '')),
  )
  const [state = Buffer.alloc(0), raw = Buffer.alloc(0)] = samples
  expect(readState(state)).toMatchObject({ ok: true, value: { customerUuid: 'Wq7nJhXtGpBmNd3K' } })
  expect(parseEvent(raw)).toMatchObject({ ok: true, value: { customerUuid: 'Wq7nJhXtGpBmNd3K' } })
})

it('docs/subscribing.md explains exactly the reasons to refuse a record', () => {
  const [, table = ''] = read('docs/subscribing.md').split('## What to do with unusable records')
  const named = (topic: string) =>
    [...table.split('\n## ')[0]!.matchAll(new RegExp(`^\\| (\`.+?) \\| ${topic} \\|`, 'gm'))]
      .flatMap(([, cell = '']) => [...cell.matchAll(/`([\w-]+)`/g)].map(([, reason]) => reason))
      .toSorted()
  expect(named('raw')).toEqual(quarantineReasons.filter((reason) => !OF_THE_PROJECTOR.includes(reason)).toSorted())
  expect(named('state')).toEqual(Object.keys(STATE_FAULTS).toSorted())
})

it('each metric that a document names exists', () => {
  const known = Object.values(openRegistries()).flatMap((registry) =>
    registry.getMetricsAsArray().map(({ name }) => name),
  )
  const current = pages.filter((page) => page !== UPGRADE_GUIDE)
  const named = current.flatMap((page) =>
    [...read(page).matchAll(/\b(?:ingress|projector|reader|customer_stream|kafka_consumergroup)_[a-z_]+/g)].map(
      ([name]) => name,
    ),
  )
  expect(named.filter((name) => !known.includes(name.replace(/_(?:bucket|sum|count)$/, '')))).toEqual([])
})

it('each counter exists as soon as a service has started', async () => {
  for (const registry of Object.values(openRegistries())) {
    // Two counters have names of secrets, tokens and API keys as labels. Only a running service has
    // these names.
    const absent = (await registry.getMetricsAsJSON()).filter(
      ({ type, values }) => String(type) === 'counter' && values.length === 0,
    )
    const byKey = ['ingress_authenticated_total', 'reader_requests_total']
    expect(absent.map(({ name }) => name).filter((name) => !byKey.includes(name))).toEqual([])
  }
})

it('docs/metrics.md lists exactly the log events of the code', () => {
  const services = ['ingress', 'projector', 'reader'].map((name) => `services/${name}/src`)
  const sources = ['packages/runtime/src', ...services].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
      .map((name) => read(`${folder}/${name}`)),
  )
  const logged = sources.flatMap((source) =>
    [...source.matchAll(/\{\s+event: '([\w-]+)'/g)].map(([, name = '']) => name),
  )
  expect([...new Set(logged)].toSorted()).toEqual(Object.keys(LOG_EVENTS).toSorted())
})

it('docs/performance.md and its plots agree with bench/report/results.json (if not: npm run docs)', () => {
  const results = readResults()
  const files = results ? reportFiles(results) : {}
  expect(
    Object.fromEntries(Object.keys(files).map((file) => [file, existsSync(join(root, file)) ? read(file) : 'missing'])),
  ).toEqual(files)
})

describe.each(pages)('%s', (page) => {
  const markdown = read(page)

  it('each link in a document leads to an existing file and heading', () => {
    const broken = [...withoutCode(markdown).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = '']) => {
      if (/^[a-z]+:/.test(target)) return []
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? page : relative(root, join(root, dirname(page), path))
      if (!existsSync(join(root, file))) return [target]
      return anchor === undefined || anchorsOf(read(file)).includes(anchor) ? [] : [target]
    })
    expect(broken).toEqual([])
  })

  it('a document names only files, npm scripts and settings that exist', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
    const commands = [...markdown.matchAll(/npm run (?:--silent )?([a-z0-9:-]+)/g)].map(([, name = '']) => name)
    if (page !== UPGRADE_GUIDE) expect(commands.filter((name) => !(name in scripts))).toEqual([])
    const files = [...markdown.matchAll(/`((?:packages|services|test|docs|bench)\/[\w./-]+\.\w+)`/g)].map(
      ([, path = '']) => path,
    )
    expect(files.filter((path) => !existsSync(join(root, path)))).toEqual([])
    const settings = [
      ...markdown.matchAll(/`((?:KAFKA|REDIS|MYKAARMA|READER|READ|CONSUMER|QUEUE|SHUTDOWN)_[A-Z_]+)`/g),
    ].map(([, name = '']) => name.replace(/_FILE$/, ''))
    const known = new Set([...configurationPage().matchAll(/^\| `([A-Z_]+)`/gm)].map(([, name]) => name))
    if (page !== UPGRADE_GUIDE)
      expect(settings.filter((name) => !known.has(name) && !/^(KAFKA|REDIS|MYKAARMA|READER)_$/.test(name))).toEqual([])
  })
})

it.each(pages.filter((page) => page.startsWith('packages/')))(
  '%s links only to files that its package contains',
  (page) => {
    const home = page.split('/').slice(0, 2).join('/')
    const links = [...withoutCode(read(page)).matchAll(/\]\(([^)\s#]+)/g)].map(([, path = '']) => path)
    const files = links.filter((link) => !/^[a-z]+:/.test(link)).map((link) => join(dirname(page), link))
    expect(files.filter((file) => !file.startsWith(`${home}/`))).toEqual([])
  },
)

describe('docker-compose.yml', () => {
  const lines = read('docker-compose.yml').split('\n')
  const ports = lines.flatMap((line) => /^ +- '(.+:\d+)'$/.exec(line)?.[1] ?? [])

  it('docker-compose.yml opens each port only to this machine, unless HOST_ADDRESS is set', () => {
    expect(ports.length).toBe(7)
    expect(
      ports.filter(
        (port) => !/^(?:127\.0\.0\.1|\$\{HOST_ADDRESS:-127\.0\.0\.1\}):\$\{HOST_\w+_PORT:-\d+\}:\d+$/.test(port),
      ),
    ).toEqual([])
  })

  it('no container of docker-compose.yml waits for another, so a port in use is reported at once', () => {
    expect(lines.filter((line) => line.includes('condition:'))).toEqual([])
  })

  it('README.md names the variables, the address and the stop command of docker-compose.yml', () => {
    const names = [
      ...new Set(lines.flatMap((line) => [...line.matchAll(/\$\{(HOST_\w+)/g)].map(([, name = '']) => name))),
    ]
    expect(names.length).toBe(8)
    expect([...names, 'docker compose down -v'].filter((name) => !read('README.md').includes(name))).toEqual([])
  })
})

it('CONTRIBUTING.md and README.md name the number of faults in the suite', () => {
  const files = ['broker', 'pressure', 'redis', 'service'].map((kind) => read(`test/faults/${kind}-faults.ts`))
  const count = files.join('').match(/^ {4}name: '/gm)?.length
  for (const document of ['README.md', 'CONTRIBUTING.md'])
    for (const [, named] of read(document).matchAll(/(\d+) faults/g))
      expect(`${document}: ${named}`).toBe(`${document}: ${count}`)
  expect(read('CONTRIBUTING.md')).toContain(`${count} faults under load`)
})
