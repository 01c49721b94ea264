import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { version } from '@customer-stream/runtime'

export const root = fileURLToPath(new URL('../..', import.meta.url))
const run = promisify(execFile)

/** Returns a sample of a README: the code block that has this word as its mark. */
export const sampleOf = (readme: string, word: string): string => {
  const [, sample] =
    new RegExp(`\`\`\`ts ${word}\\n(.*?)\`\`\``, 's').exec(readFileSync(join(root, readme), 'utf8')) ?? []
  if (sample === undefined) throw new Error(`${readme} has no sample ${word}`)
  return sample
}

interface CompileOptions {
  readonly compiler?: 'tsc' | 'tsc6'
  readonly [compilerOption: string]: unknown
}

export interface EmptyProject {
  readonly folder: string
  /** The packed packages, by name. */
  readonly tarballs: Readonly<Record<string, string>>
  write(file: string, text: string): void
  /**
   * Compiles files with TypeScript 7, or 6 (`tsc6`). Returns the lines of its output that name an
   * error.
   */
  compile(options: CompileOptions, ...files: string[]): Promise<string[]>
}

/** Packs packages of this repository into a folder. Returns the tarballs, by name. */
export const packPackages = async (
  packages: readonly string[],
  folder: string,
): Promise<Readonly<Record<string, string>>> => {
  const workspaces = packages.flatMap((name) => ['--workspace', `@customer-stream/${name}`])
  await run('npm', ['pack', '--silent', ...workspaces, '--pack-destination', folder], { cwd: root })
  return Object.fromEntries(packages.map((name) => [name, join(folder, `customer-stream-${name}-${version}.tgz`)]))
}

/** Creates a project that another team could have: our packages in published form, and kafkajs. */
export const createEmptyProject = async (...packages: readonly string[]): Promise<EmptyProject> => {
  const folder = mkdtempSync(join(tmpdir(), 'subscriber-'))
  const tarballs = await packPackages(packages, folder)
  const write = (file: string, text: string) => writeFileSync(join(folder, file), text)
  write('package.json', JSON.stringify({ name: 'subscriber', version: '1.0.0', private: true, type: 'module' }))
  const install = ['install', '--silent', '--no-audit', '--no-fund']
  await run('npm', [...install, ...Object.values(tarballs), 'kafkajs@2.2.4'], { cwd: folder })
  return {
    folder,
    tarballs,
    write,
    compile: async ({ compiler = 'tsc', ...options }, ...files) => {
      const compilerOptions = {
        skipLibCheck: true,
        noEmit: true,
        strict: true,
        typeRoots: [join(root, 'node_modules/@types')],
        types: ['node'],
        ...options,
      }
      write('tsconfig.json', JSON.stringify({ compilerOptions, files }))
      const command = join(root, 'node_modules/.bin', compiler)
      const checked = await run(command, ['-p', folder], { cwd: root }).catch((error: { stdout: string }) => error)
      return checked.stdout.split('\n').filter((line) => line.includes('error'))
    },
  }
}
