import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../../', import.meta.url))
const git = async (...args: readonly string[]) => (await run('git', ['-C', root, ...args])).stdout.trim()

/** A release, or a commit that stands for a release. */
export interface Release {
  readonly name: string
  readonly commit: string
  readonly hasStateTopic: boolean
  readonly hasIndexes: boolean
}

/** These commits stand for releases that are older than the first tag. */
const UNTAGGED: readonly Release[] = [
  { name: '0.1.0', commit: 'e1ce2d68831b09b5a9161c72fae19dd3f3959976', hasStateTopic: false, hasIndexes: false },
  { name: '27 November', commit: '77c5fadc502e205b8f239b9ed73a38b97231a608', hasStateTopic: true, hasIndexes: false },
]

/**
 * Returns the releases before this code: the one that `UPGRADE_FROM` names, otherwise the newest
 * tag before this commit, otherwise the commits that stand for releases.
 */
export const earlierReleases = async (): Promise<readonly Release[]> => {
  // A copy without history has no tags, so there `UNTAGGED` is used.
  const tags = await git('tag', '--list', 'v*', '--merged', 'HEAD^', '--sort=-v:refname').catch(() => '')
  const newest = process.env.UPGRADE_FROM ?? tags.split('\n')[0]
  if (!newest) return UNTAGGED
  const known = UNTAGGED.find(({ commit }) => commit.startsWith(newest))
  return [known ?? { name: newest, commit: newest, hasStateTopic: true, hasIndexes: true }]
}

/** Returns false for a commit that a shallow clone lacks. */
export const isInClone = ({ commit }: Release): Promise<boolean> =>
  git('cat-file', '-e', `${commit}^{commit}`).then(
    () => true,
    () => false,
  )

interface LockFile {
  readonly packages: Readonly<Record<string, { version?: string; dev?: boolean; link?: boolean }>>
}

const lockOf = async (folder: string): Promise<LockFile['packages']> =>
  (JSON.parse(await readFile(join(folder, 'package-lock.json'), 'utf8')) as LockFile).packages

/** Returns true if this working copy has each library of the release, in the same version. */
const hasSameLibraries = async (folder: string): Promise<boolean> => {
  const [now, then] = await Promise.all([lockOf(root), lockOf(folder)])
  return Object.entries(then).every(
    ([path, { version, dev, link }]) =>
      !path.startsWith('node_modules/') || dev || link || now[path]?.version === version,
  )
}

/** Links the libraries of this working copy, and the packages of the release itself. */
const linkLibraries = async (folder: string): Promise<void> => {
  const libraries = join(folder, 'node_modules')
  await mkdir(join(libraries, '@customer-stream'), { recursive: true })
  for (const name of await readdir(join(root, 'node_modules')))
    if (!name.startsWith('.') && name !== '@customer-stream')
      await symlink(join(root, 'node_modules', name), join(libraries, name))
  for (const name of await readdir(join(folder, 'packages')))
    await symlink(join('..', '..', 'packages', name), join(libraries, '@customer-stream', name))
}

/**
 * Writes the code of a release into a folder of `.data`, with its libraries. Returns the folder.
 * Uses the libraries of this working copy if they have the same versions.
 */
export const checkOutRelease = async ({ commit }: Release): Promise<string> => {
  const folder = join(root, '.data', 'releases', await git('rev-parse', `${commit}^{commit}`))
  if (await stat(folder).catch(() => undefined)) return folder
  const unfinished = `${folder}.${process.pid}`
  await mkdir(unfinished, { recursive: true })
  try {
    const archive = `${unfinished}/release.tar`
    await git('archive', '--output', archive, commit)
    await run('tar', ['-xf', archive, '-C', unfinished])
    await rm(archive)
    if (await hasSameLibraries(unfinished)) await linkLibraries(unfinished)
    else await run('npm', ['ci', '--omit=dev', '--ignore-scripts', '--no-audit'], { cwd: unfinished })
    await rename(unfinished, folder)
  } finally {
    await rm(unfinished, { recursive: true, force: true })
  }
  return folder
}
