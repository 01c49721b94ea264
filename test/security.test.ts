import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const workspaces = ['packages', 'services'].flatMap((parent) =>
  readdirSync(join(root, parent)).map((name) => `${parent}/${name}`),
)

describe('docs/security.md', () => {
  const [, table = ''] = read('docs/security.md').split('| --- | --- | --- | --- |\n')
  const threats = table
    .split('\n\n')[0]!
    .split('\n')
    .map((line) => {
      const [, who = '', what = '', defence = '', cell = ''] = line.split('|').map((text) => text.trim())
      const tests = cell.split(/; (?=`)/).map((test) => /^`(.+?)`: (.+)$/.exec(test)?.slice(1) ?? [])
      return { who, what, defence, tests }
    })

  it('each row of the table of threats names an attacker, an attack and a defence', () => {
    expect(threats.length).toBeGreaterThan(20)
    expect(threats.filter(({ who, what, defence }) => who === '' || what === '' || defence === '')).toEqual([])
  })

  it.each(threats)('the threat "$who: $what" names tests that exist', ({ tests }) => {
    for (const [file = '', title = ''] of tests) {
      expect([file, file !== '' && existsSync(join(root, file))]).toEqual([file, true])
      expect(title.length).toBeGreaterThan(10)
      expect(read(file)).toContain(title)
    }
  })
})

it('docs/security.md lists exactly the production dependencies, with reasons', () => {
  const inNoImage = ['packages/testing', 'packages/simulator']
  const inImages = workspaces.filter((folder) => !inNoImage.includes(folder))
  const dependencies = inImages.flatMap((folder) => {
    const manifest = JSON.parse(read(`${folder}/package.json`)) as Record<string, Record<string, string> | undefined>
    return Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies })
  })
  const foreign = new Set(dependencies.filter((name) => !name.startsWith('@customer-stream/')))
  const [, table = ''] = read('docs/security.md').split('## Production dependencies')
  const named = [...table.split('\n## ')[0]!.matchAll(/^\| (`.+?) \|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`(.+?)`/g)].map(([, name]) => name),
  )
  expect(named.toSorted()).toEqual([...foreign].toSorted())
})

it('each locked package has a checksum, and no image runs an install script', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { readonly link?: boolean; readonly integrity?: string }>
  }
  const fetched = Object.entries(packages).filter(([path, { link }]) => path.includes('node_modules/') && !link)
  expect(fetched.length).toBeGreaterThan(100)
  expect(fetched.filter(([, { integrity = '' }]) => !integrity.startsWith('sha512-'))).toEqual([])
  const installs = read('Dockerfile').match(/npm (?:ci|install).*/g) ?? []
  expect(installs.length).toBeGreaterThan(1)
  expect(installs.filter((install) => !install.includes('--ignore-scripts'))).toEqual([])
})

it('npm audit knows no vulnerability of a production dependency', { timeout: 60_000 }, (context) => {
  const words = ['audit', '--omit=dev', '--json', '--fetch-retries=0', '--fetch-timeout=20000']
  const { stdout } = spawnSync('npm', words, { cwd: root, encoding: 'utf8', timeout: 50_000 })
  const { vulnerabilities, statusCode, message } = JSON.parse(stdout || '{}') as {
    readonly vulnerabilities?: Readonly<Record<string, { readonly severity: string }>>
    readonly statusCode?: number
    readonly message?: string
  }
  const noAudit = `the registry does not answer npm audit (${statusCode ?? message ?? 'no answer'})`
  // Vitest prints the reason of a skipped test only if the file has a failed test.
  if (vulnerabilities === undefined) process.stderr.write(`a test is skipped: ${noAudit}\n`)
  context.skip(vulnerabilities === undefined, noAudit)
  const known = Object.entries(vulnerabilities ?? {}).map(([name, { severity }]) => `${name}: ${severity}`)
  expect(known).toEqual([])
})

it('each published package has the licence that LICENSE names, and no other package can be published', () => {
  const [licence] = read('LICENSE').split('\n')
  const wrong = ['.', ...workspaces].filter((folder) => {
    const manifest = JSON.parse(read(`${folder}/package.json`)) as { license?: string; private?: boolean }
    return manifest.license !== licence && !(manifest.license === undefined && manifest.private)
  })
  expect(wrong).toEqual([])
})
