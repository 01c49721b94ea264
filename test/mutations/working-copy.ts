import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
/** Folder of the copy. Git ignores it. */
const copyFolder = join(root, '.data', 'mutations')
const notCopied = new Set(['.git', '.data', '.turbo', 'node_modules', 'dist'])

/** A copy of the project in which tests break production code on purpose. */
export interface WorkingCopy {
  readonly folder: string
  /**
   * Replaces a text in a file. Resolves with a function that undoes the replacement.
   * @throws if the text does not occur exactly once. Then change the text in `*-mutations.ts`.
   */
  edit(file: string, from: string, to: string): Promise<() => Promise<void>>
  remove(): Promise<void>
}

export const makeWorkingCopy = async (): Promise<WorkingCopy> => {
  await rm(copyFolder, { recursive: true, force: true })
  await mkdir(join(copyFolder, 'node_modules'), { recursive: true })
  for (const name of await readdir(root)) {
    if (notCopied.has(name)) continue
    await cp(join(root, name), join(copyFolder, name), {
      recursive: true,
      filter: (source) => !notCopied.has(basename(source)),
    })
  }
  for (const name of await readdir(join(root, 'node_modules'))) {
    const from = join(root, 'node_modules', name)
    // This folder has relative links. Copy them unchanged, so that they lead to the packages of the
    // working copy.
    if (name === '@customer-stream')
      await cp(from, join(copyFolder, 'node_modules', name), { recursive: true, verbatimSymlinks: true })
    else if (!name.startsWith('.vite')) await symlink(from, join(copyFolder, 'node_modules', name))
  }
  // Share the folder of jars, so that Kafka is downloaded only once.
  await mkdir(join(root, '.data', 'jars'), { recursive: true })
  await mkdir(join(copyFolder, '.data'))
  await symlink(join(root, '.data', 'jars'), join(copyFolder, '.data', 'jars'))

  return {
    folder: copyFolder,
    edit: async (file, from, to) => {
      const path = join(copyFolder, file)
      const original = await readFile(path, 'utf8')
      const places = original.split(from).length - 1
      if (places !== 1) throw new Error(`${file} has ${places} places that read ${JSON.stringify(from)}, not one`)
      await writeFile(
        path,
        original.replace(from, () => to),
      )
      return () => writeFile(path, original)
    },
    remove: () => rm(copyFolder, { recursive: true, force: true }),
  }
}
