import { mkdirSync, mkdtempSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/**
 * Writes files as Kubernetes mounts a volume: each file is a link into `..data`, which is a link
 * itself. A second call replaces all files in one step.
 */
export const mountVolume = (folder: string, files: Readonly<Record<string, string>>): void => {
  mkdirSync(folder, { recursive: true })
  const version = mkdtempSync(join(folder, '..version-'))
  const replaceLink = (target: string, path: string): void => {
    symlinkSync(target, `${path}_tmp`)
    renameSync(`${path}_tmp`, path)
  }
  for (const [name, content] of Object.entries(files)) writeFileSync(join(version, name), content)
  replaceLink(basename(version), join(folder, '..data'))
  for (const name of Object.keys(files)) replaceLink(join('..data', name), join(folder, name))
}
