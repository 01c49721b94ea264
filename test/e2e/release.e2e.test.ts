import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { version } from '@customer-stream/runtime'
import { expect, it, onTestFinished } from 'vitest'
import { root } from './empty-project.ts'

const run = promisify(execFile)
const NOT_COPIED = ['node_modules', '.git', '.data', '.turbo', 'dist', 'target']

/** Copies the repository, and commits the copy. The copy has links to the installed packages. */
const copyRepository = async (): Promise<string> => {
  const folder = mkdtempSync(join(tmpdir(), 'release-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const isCopied = (file: string) =>
    !relative(root, file)
      .split('/')
      .some((part) => NOT_COPIED.includes(part))
  cpSync(root, folder, { recursive: true, filter: isCopied })
  mkdirSync(join(folder, 'node_modules/@customer-stream'), { recursive: true })
  for (const name of readdirSync(join(root, 'node_modules')))
    if (name !== '@customer-stream') symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  for (const group of ['packages', 'services'])
    for (const name of readdirSync(join(folder, group)))
      symlinkSync(join(folder, group, name), join(folder, 'node_modules/@customer-stream', name))
  const git = (...args: string[]) => run('git', args, { cwd: folder })
  await git('init', '--quiet')
  await git('add', '--all')
  await git('-c', 'user.name=test', '-c', 'user.email=test@localhost', 'commit', '--quiet', '--message', 'copy')
  return folder
}

it('npm run release cuts the next release, and refuses a second one', { timeout: 300_000 }, async () => {
  const folder = await copyRepository()
  const read = (file: string) => readFileSync(join(folder, file), 'utf8')
  const release = () =>
    run(process.execPath, ['--conditions=customer-stream-source', 'tools/release.ts'], { cwd: folder })
  const { stdout } = await release()
  const [, next = ''] = /version (\S+) of all packages/.exec(stdout) ?? []
  expect(next).not.toBe(version)

  for (const group of ['packages', 'services'])
    for (const name of readdirSync(join(folder, group)))
      expect(JSON.parse(read(`${group}/${name}/package.json`))).toMatchObject({ version: next })
  expect(read('CHANGELOG.md')).toMatch(`## Unreleased\n\n## ${next} – `)
  expect(read('docs/upgrading.md')).toContain(`to ${next}\n`)
  expect(read('deploy/helm/customer-stream/Chart.yaml')).toContain(`appVersion: '${next}'`)
  expect(JSON.parse(read('packages/schemas/released/openapi.json'))).toMatchObject({ info: { version: next } })
  expect(readdirSync(join(folder, `.data/release/${next}`)).toSorted()).toEqual([
    'cli.cdx.json',
    `customer-stream-schemas-${next}.tgz`,
    `customer-stream-subscriber-${next}.tgz`,
    'ingress.cdx.json',
    'projector.cdx.json',
  ])

  await expect(release()).rejects.toThrow('commit or remove these changes first')
})
