import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { version } from '@customer-stream/runtime'
import { expect, it, onTestFinished } from 'vitest'
import { root } from './empty-project.ts'

const run = promisify(execFile)
const NOT_COPIED = ['node_modules', '.git', '.data', '.turbo', 'dist', 'target']

const AUTHOR = {
  GIT_AUTHOR_NAME: 'test',
  GIT_AUTHOR_EMAIL: 'test@localhost',
  GIT_COMMITTER_NAME: 'test',
  GIT_COMMITTER_EMAIL: 'test@localhost',
}

/**
 * Adds a change: a changeset in place of all others, an entry of the changelog, and a section of
 * the upgrade guide.
 */
const addChange = (folder: string) => {
  for (const name of readdirSync(join(folder, '.changeset')))
    if (!['README.md', 'config.json'].includes(name)) rmSync(join(folder, '.changeset', name))
  writeFileSync(join(folder, '.changeset/change.md'), "---\n'@customer-stream/schemas': minor\n---\n\nA change.\n")
  const edit = (file: string, change: (text: string) => string) =>
    writeFileSync(join(folder, file), change(readFileSync(join(folder, file), 'utf8')))
  edit('CHANGELOG.md', (text) => text.replace('## Unreleased\n', '## Unreleased\n\nAn entry.\n'))
  edit('docs/upgrading.md', (text) => `${text}\n## From ${version} to Unreleased\n\nNo action is needed.\n`)
}

/** Copies the repository, and commits the copy. The copy has links to the installed packages. */
const copyRepository = async (change: (folder: string) => void): Promise<string> => {
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
  change(folder)
  const git = (...args: string[]) => run('git', args, { cwd: folder, env: { ...process.env, ...AUTHOR } })
  await git('init', '--quiet')
  await git('add', '--all')
  await git('commit', '--quiet', '--message', 'copy')
  return folder
}

const releaseIn = (folder: string) =>
  run(process.execPath, ['--conditions=customer-stream-source', 'tools/release.ts'], { cwd: folder })

/** Returns what a failed release prints. */
const refusalIn = (folder: string): Promise<string> =>
  releaseIn(folder).then(
    () => 'no failure',
    ({ stderr }: { stderr: string }) => stderr,
  )

/** Runs a line of docs/releasing.md. Returns the changes that are not committed afterwards. */
const changesAfter = async (folder: string, line: string): Promise<string> => {
  expect(readFileSync(join(folder, 'docs/releasing.md'), 'utf8').replaceAll(/\s+/g, ' ')).toContain(line)
  await run('sh', ['-c', line], { cwd: folder, env: { ...process.env, ...AUTHOR } })
  return (await run('git', ['status', '--porcelain'], { cwd: folder })).stdout
}

it('npm run release makes the next release, and refuses to run with changes that are not committed', {
  timeout: 300_000,
}, async () => {
  const folder = await copyRepository(addChange)
  const read = (file: string) => readFileSync(join(folder, file), 'utf8')
  const { stdout } = await releaseIn(folder)
  const [, next = ''] = /version (\S+) of all packages/.exec(stdout) ?? []
  expect(next).not.toBe(version)

  for (const group of ['packages', 'services'])
    for (const name of readdirSync(join(folder, group)))
      expect(JSON.parse(read(`${group}/${name}/package.json`))).toMatchObject({ version: next })
  expect(read('CHANGELOG.md')).toMatch(`## Unreleased\n\n## ${next} – `)
  expect(read('CHANGELOG.md')).toContain('### Contract\n\n- A change.\n\nAn entry.\n')
  expect(read('docs/upgrading.md')).toContain(`to ${next}\n`)
  expect(read('deploy/helm/customer-stream/Chart.yaml')).toContain(`appVersion: '${next}'`)
  expect(JSON.parse(read('packages/schemas/released/openapi.json'))).toMatchObject({ info: { version: next } })
  expect(readdirSync(join(folder, `.data/release/${next}`)).toSorted()).toEqual([
    'cli.cdx.json',
    `customer-stream-schemas-${next}.tgz`,
    `customer-stream-subscriber-${next}.tgz`,
    'ingress.cdx.json',
    'projector.cdx.json',
    'reader.cdx.json',
  ])

  const refusal = await refusalIn(folder)
  expect(refusal).toContain('commit or remove these changes first')
  expect(refusal).not.toContain('To undo')
  expect(await changesAfter(folder, 'git add --all && git commit -m "Release 0.2.0"')).toBe('')
})

it('a failed release prints the command that undoes its changes', {
  timeout: 300_000,
}, async () => {
  const folder = await copyRepository((copy) => {
    addChange(copy)
    writeFileSync(join(copy, '.data'), 'no folder for tarballs')
  })
  const [, undo = ''] = /To undo all changes: (.+)/.exec(await refusalIn(folder)) ?? []
  expect(await changesAfter(folder, undo)).toBe('')
})
