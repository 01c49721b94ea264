/** Cuts a release in the working tree: versions, changelog, tarballs, SBOMs. Publishes nothing. */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readChangesets } from '@changesets/read'
import { readCommandLine } from '@customer-stream/runtime/command-line'
import { type LockedPackages, productionPackages, type Sbom, sbomProblems } from './release/sbom.ts'
import { type Release, releaseChangelog, releaseChart, releaseUpgradeGuide } from './release/texts.ts'

const PUBLISHED = ['schemas', 'subscriber']
/** Workspace of each image. */
const IMAGES = {
  ingress: 'services/ingress',
  projector: 'services/projector',
  reader: 'services/reader',
  cli: 'packages/cli',
}

const UNDO = 'git restore . && git clean -fd packages'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const readJson = <T>(file: string) => JSON.parse(read(file)) as T
const edit = (file: string, change: (text: string) => string) => writeFileSync(join(root, file), change(read(file)))
const printNotice = (text: string) => process.stdout.write(`${text}\n`)

/** Runs a program and returns its output. On a failure, prints the whole output. */
const run = (program: string, ...args: readonly string[]): string => {
  try {
    return execFileSync(program, args, { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 26, stdio: 'pipe' })
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string }
    throw new Error(`${program} ${args.join(' ')} failed:\n${stdout ?? ''}${stderr ?? (error as Error).message}`)
  }
}

const versionOf = (workspace: string) => readJson<{ version: string }>(`${workspace}/package.json`).version

const raiseVersions = (): Release => {
  run('npx', 'changeset', 'version')
  const version = versionOf('packages/schemas')
  edit('examples/typescript/package.json', (text) =>
    text.replaceAll(/("@customer-stream\/\w+": )"[^"]+"/g, `$1"${version}"`),
  )
  edit('package.json', (text) => text.replace(/^ {2}"version": ".*"/m, `  "version": "${version}"`))
  run('npm', 'install', '--package-lock-only', '--ignore-scripts', '--prefer-offline')
  return { version, date: new Date().toISOString().slice(0, 10) }
}

const refreshContract = () => {
  run(process.execPath, '--conditions=customer-stream-source', 'tools/generate-contract.ts')
  rmSync(join(root, 'packages/schemas/released'), { recursive: true })
  cpSync(join(root, 'packages/schemas/contract'), join(root, 'packages/schemas/released'), { recursive: true })
}

const packAndCheck = (folder: string, { version }: Release) => {
  const workspaces = PUBLISHED.flatMap((name) => ['--workspace', `@customer-stream/${name}`])
  run('npm', 'pack', '--silent', ...workspaces, '--pack-destination', folder)
  for (const name of PUBLISHED) {
    const tarball = join(folder, `customer-stream-${name}-${version}.tgz`)
    run('npx', 'publint', 'run', '--strict', tarball)
    run('npx', 'attw', tarball, '--profile', 'node16')
    printNotice(`✔ ${tarball}: publint and arethetypeswrong find nothing`)
  }
}

/**
 * Runs `npm sbom` without `--omit dev`. With this option npm would also omit production packages
 * that the root package needs for development, such as ajv. A workspace has no development
 * packages.
 */
const writeSbom = (folder: string, image: string, workspace: string) => {
  const text = run('npm', 'sbom', '--sbom-format', 'cyclonedx', '--package-lock-only', '--workspace', workspace)
  const sbom = JSON.parse(text) as Sbom & { metadata: { component: { name: string; type: string } } }
  const { packages } = readJson<{ packages: LockedPackages }>('package-lock.json')
  const expected = productionPackages(packages, workspace)
  const problems = sbomProblems(sbom, expected)
  if (problems.length > 0) throw new Error(`the SBOM of ${image} is wrong:\n${problems.join('\n')}`)
  // Set the name of the image, because npm writes the name of the folder.
  Object.assign(sbom.metadata.component, { name: `customer-stream/${image}`, type: 'container' })
  const file = join(folder, `${image}.cdx.json`)
  writeFileSync(file, `${JSON.stringify(sbom, null, 2)}\n`)
  printNotice(`✔ ${file}: ${expected.length} packages, as in package-lock.json`)
}

readCommandLine({
  name: 'release',
  usage: `npm run release

  Cuts a release in this clone: raises all versions as the changesets say, and writes the changelog,
  the released contract, the tarballs of the published packages and the SBOM of each image.
  Publishes nothing and commits nothing. docs/releasing.md has all steps.`,
  options: {},
  read: () => undefined,
})

let hasChanges = false
try {
  const changed = run('git', 'status', '--porcelain')
  if (changed !== '') throw new Error(`commit or remove these changes first:\n${changed}`)
  const changes = await readChangesets(root)
  if (changes.length === 0) throw new Error('.changeset has no changeset: npx changeset writes one')

  const before = versionOf('packages/schemas')
  hasChanges = true
  const release = raiseVersions()
  printNotice(`✔ version ${release.version} of all packages (previous version: ${before})`)
  edit('CHANGELOG.md', (text) =>
    releaseChangelog(
      text,
      release,
      changes.map(({ summary }) => summary),
    ),
  )
  edit('docs/upgrading.md', (text) => releaseUpgradeGuide(text, release))
  edit('deploy/helm/customer-stream/Chart.yaml', (text) => releaseChart(text, release))
  refreshContract()
  printNotice('✔ CHANGELOG.md, docs/upgrading.md, the chart and packages/schemas/released')

  const folder = join('.data', 'release', release.version)
  rmSync(join(root, folder), { recursive: true, force: true })
  mkdirSync(join(root, folder), { recursive: true })
  packAndCheck(folder, release)
  for (const [image, workspace] of Object.entries(IMAGES)) writeSbom(folder, image, workspace)
  printNotice(`\nNothing is committed or published. Read the changes (git diff), then go on with docs/releasing.md.`)
} catch (error) {
  process.stderr.write(`release: ${(error as Error).message}\n`)
  // Print this command only if this program has changed files. Otherwise the command would destroy
  // the user's own changes.
  if (hasChanges) process.stderr.write(`To undo all changes: ${UNDO}\n`)
  process.exit(1)
}
